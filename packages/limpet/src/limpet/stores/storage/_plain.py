"""The stored form of a plain value: JSON text or raw bytes, with a header line only if needed.

The header is `#limpet ` and a JSON object with `path` (if the key contains only a digest of it) and `meta` (what the
application set with `set_meta`, or the version of a typed value). JSON never starts with `#`; raw bytes that start with
`#limpet ` get a header too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from ..._errors import CorruptDataError
from ..._json import Unreadable, load_plain
from ...driver import Driver, Item, Key, Value, split, text_of
from ._paths import Path

__all__ = ["Plain", "read", "true_paths", "write"]

_HEADER = "#limpet "


@dataclass(frozen=True, slots=True)
class Plain:
    """A stored value, parsed."""

    path: Path
    payload: Value
    """JSON text, or raw bytes."""
    meta: Mapping[str, Any]

    @property
    def value(self) -> Any:
        """The value as it was stored by the caller."""
        return self.payload if isinstance(self.payload, bytes) else _parse(self.payload, self.path)

    @property
    def raw(self) -> bytes:
        """The stored bytes: the raw ones, or the JSON text as UTF-8."""
        return self.payload if isinstance(self.payload, bytes) else self.payload.encode()


def write(key: Key, path: Path, payload: Value, meta: Mapping[str, Any]) -> Value:
    """Return the value to store."""
    digested = '"' in key
    looks_alike = isinstance(payload, bytes) and payload.startswith(_HEADER.encode())
    if not (meta or digested or looks_alike):
        return payload
    header = to_json({"meta": dict(meta), **({"path": path} if digested else {})})
    if isinstance(payload, bytes):
        return _HEADER.encode() + header + b"\n" + payload
    return f"{_HEADER}{header.decode()}\n{payload}"


def read(item: Item) -> Plain:
    """Parse a stored value. Raises `CorruptDataError` for anything that Limpet did not write."""
    if isinstance(item.value, Unreadable):
        raise item.value.error
    value, header = item.value if item.value is not None else "", None
    if isinstance(value, bytes):
        if value.startswith(_HEADER.encode()):
            line, _, value = value.partition(b"\n")
            header = line.removeprefix(_HEADER.encode())
    elif value.startswith(_HEADER):
        text_line, _, value = value.partition("\n")
        header = text_line.removeprefix(_HEADER).encode()
    if header is None:
        return Plain(_path(item.key), value, {})
    match _parse(header.decode(errors="replace"), (item.key,)):
        case {"path": [*path], "meta": dict(meta)}:
            return Plain(tuple(map(str, path)), value, meta)
        case {"meta": dict(meta)}:
            return Plain(_path(item.key), value, meta)
    raise CorruptDataError(f"the header of the item at {item.key!r} cannot be read")


async def true_paths(driver: Driver, items: Sequence[Item]) -> list[Path | None]:
    """Return the real paths of items listed without their values; `None` for one that is gone.

    Digested keys require the values: one more driver call, if there are any.
    """
    digested = [item.key for item in items if '"' in item.key]
    limit = driver.capabilities.max_keys
    whole: dict[Key, Item | None] = {}
    for start in range(0, len(digested), limit):
        part = digested[start : start + limit]
        whole.update(zip(part, await driver.get(part), strict=True))
    found = [whole.get(item.key, item) for item in items]
    return [None if item is None else read(item).path for item in found]


def _path(key: Key) -> Path:
    segments = [text_of(segment) for segment in split(key)[1:]]
    if None in segments:
        raise CorruptDataError(f"the item at {key!r} lacks the header with its full key")
    return tuple(segment or "" for segment in segments)


def _parse(payload: str, path: Path) -> Any:
    return load_plain(payload, f"the item {':'.join(path)!r}")
