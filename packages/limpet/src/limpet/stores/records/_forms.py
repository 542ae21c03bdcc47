"""How the records of a namespace are stored: each under its key, as JSON text, below a header if it needs one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from ..._errors import ConfigurationError, CorruptDataError, InvalidKeyError
from ...driver import Driver, Item, Key, Put, text
from ...structures import Migrations, TypeCodec
from ..storage import Plain, read, write
from ._entries import KeyValueEntry, Times

__all__ = ["RecordForm", "checked_text", "codec_of", "get_parts", "readable", "seconds_left"]

T = TypeVar("T")
V = TypeVar("V")

_FIRST = Migrations()
_VERSION = "version"
_NEW: Mapping[str, Any] = MappingProxyType({})


class RecordForm(Generic[V]):
    """The stored form of the values of one type in one namespace."""

    def __init__(self, codec: TypeCodec[V], namespace: str | tuple[str, ...], path: tuple[str, ...], base: Key) -> None:
        """`path` is what the keys of the records consist of, up to the record's own key; `base` is its encoded form."""
        self._codec = codec
        self._path = path
        self.namespace = namespace
        self.base = base

    def at(self, key: str) -> Key:
        """Return the key of a record in the database."""
        return f"{self.base}!{text(checked_text(key, 'key'))}"

    def encode(self, key: str, value: V, times: Mapping[str, Any] = _NEW) -> str:
        """Return the stored form of a value, with `times` in its header. Raises `InvalidValueError`, `TooLargeError`."""
        return self.stored(key, self.dump(value), times)

    def dump(self, value: V) -> str:
        """Return a value as JSON text."""
        return self._codec.dump(value)

    def stored(self, key: str, dumped: str, times: Mapping[str, Any] = _NEW) -> str:
        """Return the stored form of JSON text."""
        version = self._codec.version
        meta = times if version == 1 else {_VERSION: version, **times}
        return str(write(self.at(key), (*self._path, key), dumped, meta))

    def pair(self, item: Item) -> tuple[str, V]:
        """Return the key and the value in an item. Raises `CorruptDataError`."""
        key, value, _ = self._parsed(item)
        return key, value

    def decode(self, item: Item, key: str) -> V:
        """Return the value in an item. Raises `CorruptDataError`, also for another key with the same digest."""
        found, value, _ = self._parsed(item)
        _ensure_same(item, found, key)
        return value

    def decode_with_times(self, item: Item, key: str) -> tuple[V, Times]:
        """Return the value in an item, and the times of the record."""
        found, value, plain = self._parsed(item)
        _ensure_same(item, found, key)
        return value, Times.of(item, plain.meta)

    def entry(self, item: Item, key: str | None = None) -> KeyValueEntry[V]:
        """Return the value in an item with what is known about it. `key` is the expected one, if it is known."""
        found, value, plain = self._parsed(item)
        _ensure_same(item, found, found if key is None else key)
        created, updated = Times.of(item, plain.meta).as_datetimes()
        return KeyValueEntry(
            namespace=self.namespace,
            key=found,
            value=value,
            etag=item.etag,
            created_at=created,
            updated_at=updated,
            ttl=seconds_left(item),
        )

    def times_to_keep(self, item: Item | None) -> Mapping[str, Any]:
        """Return what the header of a record keeps if it is overwritten; nothing if it is new or cannot be read."""
        try:
            return _NEW if item is None else Times.of(item, self._plain(item)[0].meta).header_of_change()
        except CorruptDataError:
            return _NEW

    def renewed(self, item: Item, key: str, ttl_ms: int | None) -> Put:
        """Return the write that gives the record in an item another expiry, and changes nothing else."""
        plain, _ = self._plain(item)
        _ensure_same(item, plain.path[-1], key)
        meta = {**plain.meta, **Times.of(item, plain.meta).header()}
        return Put(item.key, write(item.key, plain.path, plain.payload, meta), item.etag, ttl_ms)

    def copied(self, value: V) -> V:
        """Return a copy, as it would be read."""
        return self._codec.load(self._codec.dump(value), self._codec.version, "the default")

    def _parsed(self, item: Item) -> tuple[str, V, Plain]:
        plain, version = self._plain(item)
        key = plain.path[-1]
        where = f"the record {key!r} in the namespace {self.namespace!r}"
        return key, self._codec.load(plain.payload, version, where), plain

    def _plain(self, item: Item) -> tuple[Plain, int]:
        plain = read(item)
        version = plain.meta.get(_VERSION, 1)
        if plain.path[:-1] != self._path or not isinstance(version, int):
            raise CorruptDataError(f"the item at {item.key!r} is not a record of the namespace {self.namespace!r}")
        return plain, version


def codec_of(kind: type[V], migrations: Migrations | None) -> TypeCodec[V]:
    """Return the codec of a type. Raises `ConfigurationError`."""
    if migrations is not None and not isinstance(migrations, Migrations):
        raise ConfigurationError(f"migrations must be Migrations, not {type(migrations).__name__}")
    return TypeCodec(kind, _FIRST if migrations is None else migrations)


async def get_parts(driver: Driver, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
    """Like `driver.get`, for any number of keys: with more than the driver takes, it is not one snapshot."""
    limit = driver.capabilities.max_keys
    parts = [await driver.get(keys[start : start + limit], values=values) for start in range(0, len(keys), limit)]
    return [item for part in parts for item in part]


def readable(shown: Callable[[Item], T], item: Item) -> T | CorruptDataError:
    """Return what `shown` makes of an item of a list, or why it cannot be read."""
    try:
        return shown(item)
    except CorruptDataError as error:
        error.key = item.key
        return error


def _ensure_same(item: Item, found: str, key: str) -> None:
    if found != key:
        raise CorruptDataError(f"the item at {item.key!r} contains the record {found!r}, not {key!r}")


def seconds_left(item: Item) -> float | None:
    """Return the seconds until an item expires; `None`: never."""
    return None if item.ttl_ms is None else item.ttl_ms / 1000


def checked_text(value: str, what: str) -> str:
    """Return a key or a namespace. Raises `InvalidKeyError` if it is not a string."""
    if not isinstance(value, str):
        raise InvalidKeyError(f"a {what} must be a string, not {type(value).__name__}")
    return value
