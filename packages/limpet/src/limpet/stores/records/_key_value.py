"""Values of one type by key, in a namespace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import ClassVar, Generic, TypeVar

from ..._arguments import checked_arguments
from ..._errors import (
    ConfigurationError,
    ConflictError,
    CorruptDataError,
    InvalidKeyError,
    InvalidValueError,
    NotFoundError,
)
from ...driver import KEEP, Delete, Driver, Etag, If, Item, Key, Put, Range, key, name, text
from ...structures import (
    KeysBelow,
    Listing,
    Migrations,
    Plan,
    ReadSet,
    Receipt,
    Repeated,
    TypeCodec,
    changing,
    scan_each,
    transact,
)
from .._durations import ttl_to_ms
from ..storage import read, true_paths, write

__all__ = ["KeyValueStore"]

V = TypeVar("V")

_FIRST = Migrations()
_VERSION = "version"


@checked_arguments
class KeyValueStore(Generic[V]):
    """The values of one type in one namespace. Creating the object does no I/O. Keep it: it knows the type.

    `kind` is a pydantic model, or any type that pydantic can adapt. Stores on the same namespace share its data, and
    each reads it as its own type. What `get` returns belongs to the caller: changing it does not change what is stored.

    Every method that reads values raises a `CorruptDataError`, which names the value, if it is not a valid `kind`. With
    `migrations`, values are migrated when they are read, and stored in the current version when they are next written.
    """

    _ROOT: ClassVar[Key] = name("kv")

    def __init__(self, driver: Driver, kind: type[V], namespace: str, *, migrations: Migrations | None = None) -> None:
        self._driver = driver
        if migrations is not None and not isinstance(migrations, Migrations):
            raise ConfigurationError(f"migrations must be Migrations, not {type(migrations).__name__}")
        self._codec: TypeCodec[V] = TypeCodec(kind, migrations or _FIRST)
        self.base: Key = key(self._ROOT, text(_checked(namespace, "namespace")))
        self.namespace = namespace

    # One value.

    async def get(self, key: str) -> V | None:
        """Return the value, or `None`. Like all methods that do not say otherwise, this is one driver call."""
        found = await self.get_with_etag(key)
        return None if found is None else found[0]

    async def get_with_etag(self, key: str) -> tuple[V, Etag] | None:
        """Return the value with its etag, for `set(..., if_match=etag)`."""
        (item,) = await self._driver.get([self.at(key)])
        return None if item is None else (self.decode(item, key), item.etag)

    async def exists(self, key: str) -> bool:
        """Return whether there is a value, without reading it."""
        (item,) = await self._driver.get([self.at(key)], values=False)
        return item is not None

    async def set(
        self,
        key: str,
        value: V,
        *,
        ttl: float | timedelta | None = None,
        if_match: Etag | None = None,
        if_absent: bool = False,
    ) -> Etag:
        """Store a value, new or not, and return its etag. An existing value is replaced, including its expiry.

        `ttl` is in seconds (or a timedelta), more than 0. Raises `ConflictError` if `if_match` or `if_absent` does
        not hold, `InvalidValueError` for a value that is not of the store's type or would come back changed.
        """
        if if_absent and if_match is not None:
            raise InvalidValueError("if_match and if_absent exclude each other: pass only one")
        put = Put(self.at(key), self.encode(key, value), If.ABSENT if if_absent else if_match, ttl_to_ms(ttl))
        await self._driver.apply([put])
        return put.etag

    async def replace(
        self, key: str, value: V, *, ttl: float | timedelta | None = None, if_match: Etag | None = None
    ) -> Etag:
        """Replace an existing value, otherwise like `set`. Raises `NotFoundError`, which is a `KeyError`."""
        put = Put(self.at(key), self.encode(key, value), if_match or If.PRESENT, ttl_to_ms(ttl))
        try:
            await self._driver.apply([put])
        except ConflictError as conflict:
            if conflict.items.get(put.key, put) is None:
                raise self._missing(key) from conflict
            raise
        return put.etag

    async def update(self, key: str, change: V | Callable[[V], V], *, once: str | None = None) -> V:
        """Replace a value with `change(value)`, starting over if someone else writes first; return the new value.

        `change` is a plain function that may run more than once. The expiry is kept. Two driver calls. Raises
        `NotFoundError`, which is a `KeyError`, if the key does not exist. `once` makes it safe to retry after
        `OutcomeUnknownError`: with the same token, nothing is changed a second time. Raises `ConflictError` if
        the token came with another function; the same token for another key is another call.
        Anything but a function is the new value itself, as in Naylence: the last writer wins.
        """
        at = self.at(key)

        def plan(reads: ReadSet) -> Plan[V]:
            item = reads[at]
            if item is None:
                raise self._missing(key)
            changed = change(self.decode(item, key)) if callable(change) else change
            if isinstance(changed, Awaitable):
                raise InvalidValueError(
                    "change must be a synchronous function, because it may run again after a conflict"
                )
            return Plan([Put(at, self.encode(key, changed), item.etag, KEEP)], changed)

        given = change if callable(change) else partial(str, self.encode(key, change))  # told apart by what it contains
        receipt = Receipt.of(once, "update", at, given)
        async with changing(self._driver, at):
            try:
                return await transact(self._driver, [at], plan, once=receipt)
            except Repeated:
                found = await self.get_with_etag(key)
                if found is None:
                    raise self._missing(key) from None
                return found[0]

    async def delete(self, key: str, *, if_match: Etag | None = None) -> bool:
        """Delete a value; return whether there was one. Raises `ConflictError` with `if_match`."""
        try:
            await self._driver.apply([Delete(self.at(key), if_match or If.PRESENT)])
        except ConflictError:
            if if_match is not None:
                raise
            return False
        return True

    # Several values.

    async def get_many(self, keys: Iterable[str]) -> dict[str, V | None]:
        """Return the values of several keys, in order; `None` for missing ones."""
        asked = list(dict.fromkeys(_checked(key, "key") for key in keys))
        items = await self._items([self.at(key) for key in asked])
        return {key: None if item is None else self.decode(item, key) for key, item in zip(asked, items, strict=True)}

    async def set_many(self, values: Mapping[str, V], *, ttl: float | timedelta | None = None) -> dict[str, Etag]:
        """Store several values, all or none, and return their etags.

        Raises `TooLargeError`, and stores nothing, if the driver does not accept that many in one batch: use several
        calls.
        """
        ttl_ms = ttl_to_ms(ttl)
        puts = {key: Put(self.at(key), self.encode(key, value), None, ttl_ms) for key, value in values.items()}
        if puts:
            await self._driver.apply(list(puts.values()))
        return {key: put.etag for key, put in puts.items()}

    def keys(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[str]:
        """Yield every key in order. Values are not read, so this includes the keys of unreadable values."""

        async def fetch(position: str | None, count: int) -> tuple[Sequence[str], str | None]:
            page = await self._driver.scan(Range(self.base, after=position, limit=count, values=False))
            paths = await true_paths(self._driver, page.items)
            return [path[-1] for path in paths if path is not None], page.next

        return Listing([self.base, "keys"], fetch, limit=limit, cursor=cursor, positions=KeysBelow(self.base))

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[tuple[str, V]]:
        """List every key with its value, in key order. `dict(await store.list())` loads all of them into memory."""

        async def fetch(
            position: str | None, count: int
        ) -> tuple[Sequence[tuple[str, V] | CorruptDataError], str | None]:
            page = await scan_each(self._driver, Range(self.base, after=position, limit=count))
            return [self._readable(item) for item in page.items], page.next

        return Listing([self.base, "list"], fetch, limit=limit, cursor=cursor, positions=KeysBelow(self.base))

    async def clear(self) -> int:
        """Delete every value in the namespace; return how many. Not atomic, safe to repeat."""
        return await self._driver.clear(self.base)

    # For code built on this: where a value is, and how it is stored.

    def at(self, key: str) -> Key:
        """Return the key of the value in the database."""
        return f"{self.base}!{text(_checked(key, 'key'))}"

    def encode(self, key: str, value: V) -> str:
        """Return the stored form: JSON text, below a header if the version or a real key must be kept."""
        version = self._codec.version
        meta = {} if version == 1 else {_VERSION: version}
        return str(write(self.at(key), (self.namespace, key), self._codec.dump(value), meta))

    def decode(self, item: Item, key: str) -> V:
        """Return the value in an item. Raises `CorruptDataError`, also for another key with the same digest."""
        found, value = self._pair(item)
        if found != key:
            raise CorruptDataError(f"the item at {item.key!r} contains the record {found!r}, not {key!r}")
        return value

    def _pair(self, item: Item) -> tuple[str, V]:
        plain = read(item)
        namespace, key = plain.path if len(plain.path) == 2 else ("", "")
        where = f"the record {key!r} in the namespace {self.namespace!r}"
        version = plain.meta.get(_VERSION, 1)
        if namespace != self.namespace or not isinstance(version, int):
            raise CorruptDataError(f"the item at {item.key!r} is not a record of the namespace {self.namespace!r}")
        return key, self._codec.load(plain.payload, version, where)

    def _readable(self, item: Item) -> tuple[str, V] | CorruptDataError:
        try:
            return self._pair(item)
        except CorruptDataError as error:
            error.key = item.key
            return error

    async def _items(self, keys: Sequence[Key]) -> Sequence[Item | None]:
        limit = self._driver.capabilities.max_keys
        parts = [await self._driver.get(keys[start : start + limit]) for start in range(0, len(keys), limit)]
        return [item for part in parts for item in part]

    def _missing(self, key: str) -> NotFoundError:
        return NotFoundError(f"there is no record {key!r} in the namespace {self.namespace!r}: set it first")


def _checked(value: str, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidKeyError(f"a {what} must be a string, not {type(value).__name__}")
    return value
