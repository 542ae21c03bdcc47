"""The driver's options: keyword arguments, their defaults, and their form in a URL."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from limpet import ConfigurationError
from limpet.driver.kit import check_counts, check_seconds, option_types, parse_server_url, read_options, tls_context

__all__ = ["Options", "Ssl"]

Ssl: TypeAlias = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a driver, checked. Raises `ConfigurationError` if they cannot be used."""

    host: str | None = None
    """`None`: what libpq's variables and defaults say (`PGHOST`, a local socket, ...), as for the next four.

    Several hosts, such as `one:5432,two:5433`, are tried in turn until one is writable.
    """
    port: int | None = None
    user: str | None = None
    password: str | None = None
    database: str | None = None
    ssl: Ssl | None = None
    ssl_ca: str | None = None
    """The file of the authority that signed the server's certificate; `system`: those that the system trusts."""
    ssl_cert: str | None = None
    """The file of the client certificate, for servers that require one."""
    ssl_key: str | None = None
    schema: str = "public"
    table: str = "limpet"
    pool_size: int = 8
    """Maximum number of connections."""
    connect_timeout: float = 10.0
    """Seconds to wait for a new connection, and for a free one."""
    timeout: float = 30.0
    """Seconds for one call to the server."""
    watch: bool = False
    """Change notifications, by triggers that cost every write a notification."""
    pgbouncer: bool = False
    """For a pooler that gives each transaction another connection: nothing is kept in a session."""

    def __post_init__(self) -> None:
        for name in ("schema", "table"):
            if not _NAME.fullmatch(getattr(self, name)):
                raise ConfigurationError(
                    f"{name} is {getattr(self, name)!r}: use up to 40 letters, digits and underscores, a letter first"
                )
        check_seconds(connect_timeout=self.connect_timeout, timeout=self.timeout)
        check_counts(pool_size=self.pool_size)
        if self.watch and self.pgbouncer:
            raise ConfigurationError(
                "watch needs a connection of its own, which a pooler does not keep: use only one of the two"
            )
        if self.ssl is not None and self.ssl not in get_args(Ssl):
            raise ConfigurationError(f"ssl is {self.ssl!r}: use one of {', '.join(get_args(Ssl))}")
        if self.ssl_ca is not None and self.ssl not in (None, "verify-ca", "verify-full"):
            raise ConfigurationError(
                f"ssl={self.ssl} does not check who signed the certificate: use verify-full with ssl_ca"
            )
        if self.ssl_ca is None and (self.ssl_cert, self.ssl_key) != (None, None):
            raise ConfigurationError("ssl_cert is only sent to a trusted server: pass ssl_ca too")
        if self.host is not None and "," in self.host and self.port is not None:
            raise ConfigurationError("with several hosts, each has its own port: write 'one:5432,two:5433' as host")

    @classmethod
    def from_url(cls, url: str) -> Options:
        """Parse `postgresql://user:password@host:port/database?schema=agents`. All other options are in the query."""
        parts = parse_server_url(url)
        options = read_options(parts, option_types(cls, elsewhere=("port", "user", "password", "database")))
        database = parts.path.removeprefix("/")
        if "/" in database:
            raise ConfigurationError(
                f"the database is {database!r}: write postgresql://host/database, without a slash in it"
            )
        named = {"host": parts.host or None, "port": parts.port, "user": parts.username, "password": parts.password}
        if len(parts.hosts) > 1:
            several = ((f"[{host}]" if ":" in host else host, port or 5432) for host, port in parts.hosts)
            named |= {"host": ",".join(f"{host}:{port}" for host, port in several), "port": None}
        given = {name: value for name, value in named.items() if value is not None}
        return cls(**{**given, "database": database or None, **options})

    @property
    def place(self) -> str:
        """Where the server is, for messages, without the password."""
        at = f"{self.host or 'the default host'}{'' if self.port is None else f':{self.port}'}"
        return f"PostgreSQL at {at}, table {self.schema}.{self.table}"

    @property
    def tls_problem(self) -> str | None:
        """Return why others on the network could read or change what is sent; `None` if nobody can."""
        if self.host is not None and self.host.startswith("/"):
            return None
        mode = self._mode
        known = self.ssl_ca not in (None, "system")
        if mode == "verify-full" or (self.ssl_ca is not None and mode is None) or (mode == "verify-ca" and known):
            return None
        return f"{self.place} is reached with ssl={mode or 'prefer'}, which stops no attacker on the way: set ssl=verify-full"

    @property
    def _mode(self) -> str | None:
        return self.ssl or os.environ.get("PGSSLMODE") or None

    @property
    def insists_on_tls(self) -> bool:
        """Whether nothing is sent without TLS.

        `prefer` and `allow` continue without it if anyone says that there is none.
        """
        return self.ssl_ca is not None or self._mode in ("require", "verify-ca", "verify-full")

    def connecting(self) -> dict[str, Any]:
        """Return the client's settings. Raises `ConfigurationError` for files that cannot be used."""
        names = ("host", "port", "user", "password", "database", "ssl")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.host is not None and "," in self.host:
            given |= {"dsn": f"postgresql://{given.pop('host')}", "target_session_attrs": "read-write"}
        if self.ssl_ca is not None:
            given["ssl"] = tls_context(
                ca=None if self.ssl_ca == "system" else self.ssl_ca, cert=self.ssl_cert, key=self.ssl_key,
                check_hostname=self.ssl != "verify-ca",
            )  # fmt: skip
        return given
