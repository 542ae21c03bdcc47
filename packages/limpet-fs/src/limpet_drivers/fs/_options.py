"""The driver's options: keyword arguments, their defaults, and their form in a URL."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from limpet._errors import ConfigurationError
from limpet.driver.kit import parse_url, read_options

__all__ = ["Durability", "Options", "from_url"]

Durability: TypeAlias = Literal["disk", "process"]

_KNOWN: dict[str, Any] = {"durability": Durability, "lock_timeout": float}
_DRIVE = re.compile(r"/[A-Za-z]:[/\\]?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The driver's keyword arguments, checked."""

    base: str
    """An absolute path."""
    durability: Durability
    lock_timeout: float
    clock: Callable[[], int]

    @classmethod
    def checked(
        cls, base: str | os.PathLike[str], durability: str, lock_timeout: float, clock: Callable[[], int]
    ) -> Options:
        """Raises `ConfigurationError` for options that cannot be used."""
        path = os.fspath(base)
        if not isinstance(path, str) or not path or "\0" in path:
            raise ConfigurationError(f"{path!r} is not a folder: pass a path, such as FsDriver('data')")
        if durability not in ("disk", "process"):
            raise ConfigurationError(f"durability is {durability!r}: use 'disk' (the default) or 'process'")
        if not lock_timeout >= 0:
            raise ConfigurationError(f"lock_timeout is {lock_timeout!r}: use a number of seconds, 0 or more")
        return cls(
            base=os.path.realpath(path),
            durability="disk" if durability == "disk" else "process",
            lock_timeout=lock_timeout,
            clock=clock,
        )


def from_url(url: str) -> tuple[str, dict[str, Any]]:
    """Return the folder and the keywords of `fs://./data?durability=process`. The path is what follows `fs://`."""
    parts = parse_url(url)
    path = parts.rest
    if not path:
        raise ConfigurationError(
            "fs:// does not name a folder: write fs://./data, or fs:///srv/data for an absolute path"
        )
    if os.name == "nt" and _DRIVE.match(path):
        path = path[1:]
    return path, read_options(parts, _KNOWN)
