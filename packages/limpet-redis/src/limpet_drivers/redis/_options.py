"""The driver's options: keyword arguments, their defaults, and their form in a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args
from urllib.parse import quote

from limpet import ConfigurationError
from limpet.driver.kit import (
    SecretUrl,
    Url,
    check_counts,
    check_seconds,
    hide_password,
    option_types,
    parse_server_url,
    read_options,
)

__all__ = ["Address", "Eviction", "Options", "Target"]

Eviction: TypeAlias = Literal["refuse", "allow"]
Address: TypeAlias = tuple[str, int]

_BASE = re.compile(r"[^{}\s]{1,100}")
_PORTS = {"single": 6379, "cluster": 6379, "sentinel": 26379}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a URL names: one server, nodes of a cluster, or sentinels and their name for the server."""

    kind: Literal["single", "cluster", "sentinel"]
    hosts: tuple[Address, ...]
    tls: bool
    username: str | None
    password: str | None
    database: int
    service: str | None
    """The sentinels' name for the primary and its replicas."""

    @classmethod
    def of(cls, parts: Url) -> Target:
        """Raises `ConfigurationError` if the URL is invalid."""
        protocol, _, kind = parts.scheme.partition("+")
        if protocol not in ("redis", "rediss") or kind not in ("", "cluster", "sentinel"):
            raise ConfigurationError(f"{parts.scheme}:// is not redis://, redis+cluster:// or redis+sentinel://")
        kind = kind or "single"
        hosts = tuple((host or "localhost", port or _PORTS[kind]) for host, port in parts.hosts)
        hosts = hosts or (("localhost", _PORTS[kind]),)
        path = parts.path.strip("/")
        service = None
        if kind == "sentinel":
            service, _, path = path.partition("/")
            if not service:
                raise ConfigurationError(
                    "no server given: write redis+sentinel://host:26379/NAME with the name that the sentinels use, such as 'mymaster'"
                )
        elif kind == "single" and len(hosts) > 1:
            raise ConfigurationError(
                "redis:// connects to one server: write redis+cluster:// for the nodes of a cluster, or redis+sentinel://"
            )
        if path and not path.isdecimal():
            raise ConfigurationError(f"the database is {path!r}: Redis databases are numbered, so write a number")
        if kind == "cluster" and int(path or 0):
            raise ConfigurationError(f"the database is {path}: a cluster has only database 0, so choose another base")
        return cls(
            kind=kind,  # type: ignore[arg-type]  # one of the three, as checked
            hosts=hosts,
            tls=protocol == "rediss",
            username=parts.username or None,
            password=parts.password,
            database=int(path or 0),
            service=service,
        )

    @property
    def url(self) -> str:
        """The URL without options."""
        scheme = "rediss" if self.tls else "redis"
        scheme += "" if self.kind == "single" else f"+{self.kind}"
        secret = "" if self.password is None else f":{quote(self.password, safe='')}"
        user = quote(self.username or "", safe="")
        credentials = f"{user}{secret}@" if user or secret else ""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        service = "" if self.service is None else f"/{quote(self.service, safe='')}"
        return SecretUrl(f"{scheme}://{credentials}{hosts}{service}/{self.database}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a driver, checked. Raises `ConfigurationError` if they cannot be used."""

    url: str = "redis://localhost:6379/0"
    """Where to connect: one server, a cluster, or sentinels."""
    base: str = "limpet"
    """The prefix of the database's keys, in braces: all of them are in one slot of a cluster."""
    pool_size: int = 8
    connect_timeout: float = 10.0
    """Seconds to wait for a new connection, and for a free one."""
    timeout: float = 30.0
    """Seconds for one call to the server."""
    eviction: Eviction = "refuse"
    """What to do if the server may drop any key when its memory is full."""
    ssl_ca: str | None = None
    """The file of the authority that signed the server's certificate; `None`: those that the system trusts."""
    ssl_cert: str | None = None
    """The file of the client certificate, for servers that require one."""
    ssl_key: str | None = None
    ssl_check_hostname: bool = True
    """Whether the certificate must contain the host name that was connected to."""
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    """For the sentinels themselves, which have their own users."""

    def __post_init__(self) -> None:
        if not isinstance(self.base, str) or not _BASE.fullmatch(self.base):
            raise ConfigurationError(f"base is {self.base!r}: use up to 100 characters without spaces and braces")
        check_seconds(connect_timeout=self.connect_timeout, timeout=self.timeout)
        check_counts(pool_size=self.pool_size)
        if self.eviction not in get_args(Eviction):
            raise ConfigurationError(f"eviction is {self.eviction!r}: use 'refuse' or 'allow'")
        target = self.target
        if not target.tls and (self.ssl_ca, self.ssl_cert, self.ssl_key, self.ssl_check_hostname) != (
            *[None] * 3,
            True,
        ):
            raise ConfigurationError(
                f"{hide_password(self.url)} does not use TLS: write rediss:// to use ssl_... options"
            )
        if target.kind != "sentinel" and (self.sentinel_username, self.sentinel_password) != (None, None):
            raise ConfigurationError("sentinel_username and sentinel_password belong to redis+sentinel://")

    @classmethod
    def from_url(cls, url: str) -> Options:
        """Return the options in `redis://user:password@host:port/database?base=agents`. They are in the query."""
        parts = parse_server_url(url)
        options = read_options(parts, option_types(cls, elsewhere=("url",)))
        return cls(url=Target.of(parts).url, **options)

    @property
    def target(self) -> Target:
        """The parsed URL."""
        parts = parse_server_url(self.url)
        if parts.query:
            raise ConfigurationError(
                "options are keyword arguments here: pass them next to the URL, or use from_url(...)"
            )
        return Target.of(parts)

    @property
    def tls_problem(self) -> str | None:
        """Return why others on the network could read or change what is sent; `None` if nobody can."""
        if not self.target.tls:
            return f"{self.place} is reached without TLS: write rediss:// in place of redis://"
        if not self.ssl_check_hostname and self.ssl_ca is None:
            return f"{self.place} may show the certificate of anybody: set ssl_ca, or leave out ssl_check_hostname"
        return None

    @property
    def place(self) -> str:
        """Where the server is, for messages, without the password."""
        return f"Redis at {hide_password(self.url)}, base {self.base!r}"
