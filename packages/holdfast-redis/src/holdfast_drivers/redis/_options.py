"""Keywords, their defaults, and how they are spelled in a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import quote

from holdfast import ConfigurationError
from holdfast.opening import check_counts, check_seconds, hide_password, parse_url, read_options

__all__ = ["Eviction", "Options"]

Eviction: TypeAlias = Literal["refuse", "allow"]

_BASE = re.compile(r"[^{}\s]{1,100}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a driver was asked for, checked. Raises `ConfigurationError` where it cannot be used."""

    url: str = "redis://localhost:6379/0"
    """As redis-py reads it, without our options."""
    base: str = "holdfast"
    """What the store's keys begin with, in braces: all of them lie in one slot of a cluster."""
    pool_size: int = 8
    connect_timeout: float = 10.0
    """Seconds for a connection to be made, and for one to become free."""
    timeout: float = 30.0
    """Seconds for one call to the server."""
    eviction: Eviction = "refuse"
    """What to do with a server that may drop any key when its memory is full."""

    def __post_init__(self) -> None:
        if not isinstance(self.base, str) or not _BASE.fullmatch(self.base):
            raise ConfigurationError(f"base is {self.base!r}: use up to 100 characters, no blanks and no braces")
        check_seconds(connect_timeout=self.connect_timeout, timeout=self.timeout)
        check_counts(pool_size=self.pool_size)
        if self.eviction not in get_args(Eviction):
            raise ConfigurationError(f"eviction is {self.eviction!r}: use 'refuse' or 'allow'")

    @classmethod
    def from_url(cls, url: str) -> Options:
        """`redis://user:password@host:port/database?base=agents`; `rediss://` is TLS; every option stands in the query."""
        parts = parse_url(url)
        types: dict[str, Any] = {"base": str, "pool_size": int, "connect_timeout": float, "timeout": float}
        options = read_options(parts, types | {"eviction": Eviction})
        database = parts.path.strip("/") or "0"
        if not database.isdecimal():
            raise ConfigurationError(f"the database is {database!r}: Redis counts its databases, so write a number")
        secret = "" if parts.password is None else f":{quote(parts.password, safe='')}"
        user = quote(parts.username or "", safe="")
        credentials = f"{user}{secret}@" if user or secret else ""
        host = parts.host or "localhost"
        host = f"[{host}]" if ":" in host else host
        return cls(url=f"{parts.scheme}://{credentials}{host}:{parts.port or 6379}/{database}", **options)

    @property
    def place(self) -> str:
        """Where it is, for messages: without the password."""
        return f"Redis at {hide_password(self.url)}, base {self.base!r}"
