"""The manifest of every database: its format, the oldest reader that may open it, the wrappers that wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pydantic_core import from_json, to_json

from .._errors import ConfigurationError, ConflictError, FormatError, NotFoundError, UnavailableError, WrongStackError
from ..driver import Driver, If, Item, Put
from ..wrappers import MANIFEST, Encrypted, ReadOnly, Wrapper, layers

__all__ = ["FORMAT", "MANIFEST", "check_manifest", "written_through"]

FORMAT = 1
"""The format that this release writes. Frozen: key encoding, form of etags, item metadata."""

_OLDEST_READER = 1

_YEAR_2000, _YEAR_2200 = 946_684_800_000, 7_258_118_400_000
"""In milliseconds since 1970. A driver that counts in seconds, or not at all, is below this."""


async def written_through(driver: Driver) -> Sequence[str] | None:
    """Return the names of the wrappers that wrote a database, innermost first; `None` if it is new.

    Raises `FormatError`.
    """
    (item,) = await driver.get([MANIFEST])
    return None if item is None else _read(item)["wrappers"]


async def check_manifest(driver: Driver) -> None:
    """Read the manifest below all wrappers and compare it with them. If the database is new, write the manifest.

    Raises `FormatError` for a database of a newer release, `WrongStackError` for another stack of wrappers,
    `NotFoundError` if a new database is opened read-only, and `ConfigurationError` for a driver that cannot tell the
    time.
    """
    found = layers(driver)
    stack = [layer.stored_as for layer in reversed(found) if isinstance(layer, Wrapper) and layer.stored_as]
    innermost = found[-1]
    (item,) = await innermost.get([MANIFEST])
    if item is None and any(isinstance(layer, ReadOnly) for layer in found):
        raise NotFoundError("this database was never written: open it without read_only() first, or check the URL")
    written = to_json({"format": FORMAT, "oldest_reader": _OLDEST_READER, "wrappers": stack}).decode()
    if item is None:
        with suppress(ConflictError):  # someone else opened the same new database
            await innermost.apply([Put(MANIFEST, written, If.ABSENT)])
        (item,) = await innermost.get([MANIFEST])
    if item is None:
        raise UnavailableError("the manifest that was written a moment ago is not there: check what the backend evicts")
    _check_clock(item, type(innermost).__name__)
    _compare(item, stack)
    for layer in found:
        if isinstance(layer, Encrypted):
            layer.learn_manifest(item.value or written)


def _check_clock(item: Item, driver: str) -> None:
    """Leases, expiry and retention need to know when items were written."""
    if not isinstance(item.updated_at, int) or not _YEAR_2000 <= item.updated_at < _YEAR_2200:
        raise ConfigurationError(
            f"{driver} cannot be used: it says that its manifest was written at {item.updated_at!r}, which is not a time in "
            "milliseconds since 1970. Set updated_at of every item from the backend's clock"
        )


def _compare(item: Item, stack: list[str]) -> None:
    manifest = _read(item)
    if manifest["oldest_reader"] > FORMAT:
        raise FormatError(
            f"this database was written in format {manifest['format']}, which needs a reader of format "
            f"{manifest['oldest_reader']} or newer; this release reads up to {FORMAT}: upgrade limpet"
        )
    if manifest["wrappers"] != stack:
        raise WrongStackError(
            f"this database was written through {_named(manifest['wrappers'])} but is being opened through {_named(stack)}: "
            "open it with the same wrappers, in the same order"
        )


def _read(item: Item) -> dict[str, Any]:
    try:
        manifest = from_json(item.value or "")
    except ValueError as error:
        raise FormatError(f"the manifest of this database cannot be read: {error}") from error
    match manifest:
        case {"format": int(), "oldest_reader": int(), "wrappers": [*_]}:
            return dict(manifest)
    raise FormatError(
        "the manifest of this database is not one of Limpet's: another program may be using the same name"
    )


def _named(stack: list[str]) -> str:
    return " over ".join(repr(wrapper) for wrapper in reversed(stack)) or "no wrapper"
