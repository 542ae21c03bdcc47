"""The driver's options: keyword arguments, their defaults, and their form in a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from limpet import ConfigurationError
from limpet.driver.kit import check_counts, check_seconds, option_types, parse_server_url, read_options

from ._library import Library

__all__ = ["Options", "Ssl"]

Ssl: TypeAlias = Literal["disable", "require", "verify-ca", "verify-full"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_DATABASE = re.compile(r"[^`\x00/\\.]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a driver, checked. Raises `ConfigurationError` if they cannot be used."""

    host: str = "localhost"
    port: int = 3306
    user: str | None = None
    """`None`: the name of the system user, as in `mysql`."""
    password: str | None = None
    database: str | None = None
    """Must exist. `None` is for a pool whose connections already have one."""
    unix_socket: str | None = None
    """A path, instead of host and port."""
    ssl: Ssl = "disable"
    ssl_ca: str | None = None
    """Paths of PEM files: the server certificate's authority, and the client certificate with its key."""
    ssl_cert: str | None = None
    ssl_key: str | None = None
    table: str = "limpet"
    pool_size: int = 8
    """Maximum number of connections."""
    connect_timeout: float = 10.0
    """Seconds to wait for a new connection, and for a free one."""
    timeout: float = 30.0
    """Seconds for one call to the server."""
    multi_statements: bool = True
    """Send several statements at once: each transaction takes fewer round trips."""
    client: Library = "aiomysql"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.table):
            raise ConfigurationError(
                f"table is {self.table!r}: use up to 40 letters, digits and underscores, a letter first"
            )
        if self.database is not None and not _DATABASE.fullmatch(self.database):
            raise ConfigurationError(
                f"the database is {self.database!r}: write mysql://host/database, with a name of up to 64 characters "
                "without a dot, a slash or a backtick"
            )
        check_seconds(connect_timeout=self.connect_timeout, timeout=self.timeout)
        check_counts(pool_size=self.pool_size, port=self.port)
        for name, known in (("ssl", Ssl), ("client", Library)):
            if getattr(self, name) not in get_args(known):
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}: use one of {', '.join(get_args(known))}")
        if self.ssl == "disable" and (self.ssl_ca or self.ssl_cert or self.ssl_key):
            raise ConfigurationError("certificates need TLS: add ssl=verify-full (or verify-ca, require)")

    @classmethod
    def from_url(cls, url: str) -> Options:
        """Parse `mysql://user:password@host:port/database?table=agents`. All other options are in the query."""
        parts = parse_server_url(url)
        if len(parts.hosts) > 1:
            raise ConfigurationError(
                f"{parts.scheme}:// connects to one server: name one host, or a proxy in front of several"
            )
        options = read_options(parts, option_types(cls, elsewhere=("host", "port", "user", "password", "database")))
        named = {"host": parts.host, "port": parts.port, "user": parts.username, "password": parts.password}
        given = {name: value for name, value in named.items() if value}
        return cls(**{**given, "database": parts.path.removeprefix("/") or None, **options})

    @property
    def tls_problem(self) -> str | None:
        """Return why others on the network could read or change what is sent; `None` if nobody can."""
        if self.unix_socket or self.ssl == "verify-full" or (self.ssl == "verify-ca" and self.ssl_ca is not None):
            return None
        return f"{self.place} is reached with ssl={self.ssl}, which stops no attacker on the way: set ssl=verify-full"

    @property
    def connecting(self) -> tuple[object, ...]:
        """Return which server it is, and how to connect to it."""
        return (self.host, self.port, self.user, self.password, self.unix_socket, self.ssl, self.client)

    @property
    def place(self) -> str:
        """Where the server is, for messages, without the password."""
        at = self.unix_socket or f"{self.host}:{self.port}"
        return f"MySQL at {at}, table {'' if self.database is None else f'{self.database}.'}{self.table}"
