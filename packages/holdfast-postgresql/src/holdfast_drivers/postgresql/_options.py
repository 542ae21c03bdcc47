"""Keywords, their defaults, and how they are spelled in a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

from holdfast import ConfigurationError
from holdfast.opening import check_counts, check_seconds, parse_url, read_options

__all__ = ["Options", "Ssl"]

Ssl: TypeAlias = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a driver was asked for, checked. Raises `ConfigurationError` where it cannot be used."""

    host: str | None = None
    """`None`: what libpq's variables and defaults say (`PGHOST`, a local socket, ...); so for the next four."""
    port: int | None = None
    user: str | None = None
    password: str | None = None
    database: str | None = None
    ssl: Ssl | None = None
    schema: str = "public"
    table: str = "holdfast"
    pool_size: int = 8
    """Connections at most."""
    connect_timeout: float = 10.0
    """Seconds for a connection to be made, and for one to become free."""
    timeout: float = 30.0
    """Seconds for one call to the server."""
    watch: bool = False
    """Hints about changes, by triggers that cost every write a notification."""
    pgbouncer: bool = False
    """Through a pooler that gives each transaction another connection: nothing is kept in a session."""

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
                "watch listens on a connection of its own, which a pooler takes away: choose one of them"
            )
        if self.ssl is not None and self.ssl not in get_args(Ssl):
            raise ConfigurationError(f"ssl is {self.ssl!r}: use one of {', '.join(get_args(Ssl))}")

    @classmethod
    def from_url(cls, url: str) -> Options:
        """`postgresql://user:password@host:port/database?schema=agents`; every other option stands in the query."""
        parts = parse_url(url)
        types: dict[str, Any] = {
            "ssl": Ssl,
            "schema": str,
            "table": str,
            "pool_size": int,
            "pgbouncer": bool,
            "watch": bool,
        }
        types |= {"connect_timeout": float, "timeout": float, "host": str}
        options = read_options(parts, types)
        database = parts.path.removeprefix("/")
        if "/" in database:
            raise ConfigurationError(
                f"the database is {database!r}: write postgresql://host/database, without a slash in it"
            )
        named = {"host": parts.host or None, "port": parts.port, "user": parts.username, "password": parts.password}
        given = {name: value for name, value in named.items() if value is not None}
        return cls(**{**given, "database": database or None, **options})

    @property
    def place(self) -> str:
        """Where it is, for messages: without the password."""
        at = f"{self.host or 'the default host'}{'' if self.port is None else f':{self.port}'}"
        return f"PostgreSQL at {at}, table {self.schema}.{self.table}"

    def connecting(self) -> dict[str, Any]:
        """What the client is told."""
        names = ("host", "port", "user", "password", "database", "ssl")
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name in names}
        return {name: value for name, value in given.items() if value is not None}
