"""The driver's options: keyword arguments, their defaults, and their form in a URL."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from limpet import ConfigurationError
from limpet.driver.kit import check_seconds, parse_url, read_options

__all__ = ["Durability", "Options"]

Durability: TypeAlias = Literal["disk", "relaxed"]

_MEMORY = ":memory:"


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a driver, checked. Raises `ConfigurationError` if they cannot be used."""

    path: Path | None
    """Absolute; `None` for a database in memory."""
    durability: Durability = "disk"
    timeout: float = 30.0
    """Seconds."""

    def __post_init__(self) -> None:
        if self.durability not in get_args(Durability):
            raise ConfigurationError(f"durability is {self.durability!r}: use 'disk' or 'relaxed'")
        check_seconds(timeout=self.timeout)

    @classmethod
    def from_path(cls, path: str | os.PathLike[str], durability: Durability, timeout: float) -> Options:
        """Return the options for a caller's path, or `:memory:`; a relative path starts from the current folder."""
        if not isinstance(path, str | os.PathLike):
            raise ConfigurationError(f"{path!r} is not a path to a database: use a str, a Path or ':memory:'")
        written = os.fspath(path)
        if not isinstance(written, str) or not written or "\0" in written:
            raise ConfigurationError(f"{path!r} is not a path to a database: use a str, a Path or ':memory:'")
        if "://" in written:
            raise ConfigurationError(f"{path!r} is a URL: use SqliteDriver.from_url(), or pass only the path")
        return cls(None if written == _MEMORY else Path(written).absolute(), durability, timeout)

    @classmethod
    def from_url(cls, url: str) -> Options:
        """Parse `sqlite:///relative.db`, `sqlite:////absolute.db`, or `sqlite://` (in memory).

        Options are in the query.
        """
        parts = parse_url(url)
        options = read_options(parts, {"durability": Durability, "timeout": float})
        if parts.rest and not parts.rest.startswith("/"):
            raise ConfigurationError(
                f"sqlite://{parts.rest} has two slashes: write sqlite:///{parts.rest} for a relative path, "
                "and four slashes for an absolute one"
            )
        path = parts.rest[1:] or _MEMORY
        return cls.from_path(path, options.get("durability", "disk"), options.get("timeout", 30.0))
