"""Values of one type by key, in a namespace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import ClassVar, Generic, TypeVar

from ..._arguments import checked_arguments
from ..._errors import ConflictError, CorruptDataError, InvalidValueError, NotFoundError
from ...driver import KEEP, Delete, Driver, Etag, If, Item, Key, Put, Range, key, name, text
from ...structures import (
    KeysBelow,
    Listing,
    Migrations,
    Plan,
    ReadSet,
    Receipt,
    Repeated,
    changing,
    scan_each,
    transact,
)
from .._durations import ttl_to_ms
from ..storage import true_paths
from ._entries import KeyValueEntry
from ._forms import RecordForm, checked_text, codec_of, get_parts, readable, seconds_left
from ._namespaces import base_of, checked_labels

__all__ = ["KeyValueStore"]

T = TypeVar("T")
V = TypeVar("V")


@checked_arguments
class KeyValueStore(Generic[V]):
    """The values of one type in one namespace. Creating the object does no I/O. Keep it: it knows the type.

    `kind` is a pydantic model, or any type that pydantic can adapt. Stores on the same namespace share its data, and
    each reads it as its own type. What `get` returns belongs to the caller: changing it does not change what is stored.

    Every method that reads values raises a `CorruptDataError`, which names the value, if it is not a valid `kind`. With
    `migrations`, values are migrated when they are read, and stored in the current version when they are next written.
    """

    _ROOT: ClassVar[Key] = name("kv")

    def __init__(
        self,
        driver: Driver,
        kind: type[V],
        namespace: str | tuple[str, ...],
        *,
        migrations: Migrations | None = None,
    ) -> None:
        self._driver = driver
        if isinstance(namespace, str):
            path: tuple[str, ...] = (namespace,)
            base = key(self._ROOT, text(namespace))
        else:
            namespace = checked_labels(namespace)
            path, base = (*namespace, ""), base_of(namespace)
        self._form = RecordForm(codec_of(kind, migrations), namespace, path, base)
        self.base: Key = base
        self.namespace = namespace

    # One value.

    async def get(self, key: str) -> V | None:
        """Return the value, or `None`. Like all methods that do not say otherwise, this is one driver call."""
        (item,) = await self._driver.get([self._form.at(key)])
        return None if item is None else self._form.decode(item, key)

    async def get_with_etag(self, key: str) -> tuple[V, Etag] | None:
        """Return the value with its etag, for `set(..., if_match=etag)`."""
        (item,) = await self._driver.get([self._form.at(key)])
        return None if item is None else (self._form.decode(item, key), item.etag)

    async def get_entry(self, key: str) -> KeyValueEntry[V] | None:
        """Return the value with its etag, its times and its time to live, or `None`."""
        (item,) = await self._driver.get([self.at(key)])
        return None if item is None else self._form.entry(item, key)

    async def ttl(self, key: str) -> float | None:
        """Return the seconds until the value expires, or `None` if it never does. The value is not read.

        Raises `NotFoundError`, which is a `KeyError`, if there is no value, or no longer.
        """
        (item,) = await self._driver.get([self.at(key)], values=False)
        if item is None:
            raise self._missing(key)
        return seconds_left(item)

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
        stored = self._form.encode(key, value)
        put = Put(self._form.at(key), stored, If.ABSENT if if_absent else if_match, ttl_to_ms(ttl))
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

    async def update(
        self,
        key: str,
        change: V | Callable[[V], V],
        *,
        default: V | Callable[[], V] | None = None,
        once: str | None = None,
    ) -> V:
        """Replace a value with `change(value)`, starting over if someone else writes first; return the new value.

        `change` is a plain function that may run more than once. The expiry is kept. Two driver calls. If the key does
        not exist and there is a `default`, the new value is `change(default)`, which never expires; otherwise, this
        raises `NotFoundError`, which is a `KeyError`. A `default` that is a function is called for its result;
        for a default of `None`, pass `lambda: None`.
        `once` makes it safe to retry after `OutcomeUnknownError`: with the same token, nothing is changed a second
        time. Raises `ConflictError` if the token came with another function; the same token for another key is another
        call. Anything but a function is the new value itself, as in Naylence: the last writer wins.
        """
        at = self.at(key)

        def plan(reads: ReadSet) -> Plan[V]:
            item = reads[at]
            if item is None:
                if default is None:
                    raise self._missing(key)
                old, times = self._form.copied(default() if callable(default) else default), {}
            else:
                old, known = self._form.decode_with_times(item, key)
                times = known.header_of_change()
            changed = change(old) if callable(change) else change
            if isinstance(changed, Awaitable):
                raise InvalidValueError(
                    "change must be a synchronous function, because it may run again after a conflict"
                )
            cond = If.ABSENT if item is None else item.etag
            stored = self._form.encode(key, changed, times)
            return Plan([Put(at, stored, cond, None if item is None else KEEP)], changed)

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

    async def touch(self, key: str, *, ttl: float | timedelta | None) -> bool:
        """Let a value expire `ttl` from now, in seconds or as a timedelta (`None`: never). Return whether there is one.

        The value and its times stay the same; the etag is new, because an etag stands for one expiry. Two driver calls:
        the value is read, and written again if nobody else did meanwhile. A value that has expired stays expired.
        """
        at, ttl_ms = self.at(key), ttl_to_ms(ttl)

        def plan(reads: ReadSet) -> Plan[bool]:
            item = reads[at]
            return Plan([], False) if item is None else Plan([self._form.renewed(item, key, ttl_ms)], True)

        async with changing(self._driver, at):
            return await transact(self._driver, [at], plan)

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
        found = await self._by_key(keys)
        return {key: None if item is None else self.decode(item, key) for key, item in found}

    async def get_entries(self, keys: Iterable[str]) -> dict[str, KeyValueEntry[V] | None]:
        """Return several values as `get_entry` does, in the order of the keys; `None` for missing ones."""
        found = await self._by_key(keys)
        return {key: None if item is None else self._form.entry(item, key) for key, item in found}

    async def ttl_many(self, keys: Iterable[str]) -> dict[str, float | None]:
        """Return the seconds until several values expire, `None` for those that never do. Missing keys are left out."""
        found = await self._by_key(keys, values=False)
        return {key: seconds_left(item) for key, item in found if item is not None}

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

    def entries(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[KeyValueEntry[V]]:
        """List every value as `get_entry` returns it, in key order."""
        return self._listing("entries", self._form.entry, limit, cursor)

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[tuple[str, V]]:
        """List every key with its value, in key order. `dict(await store.list())` loads all of them into memory."""
        return self._listing("list", self._form.pair, limit, cursor)

    async def clear(self) -> int:
        """Delete every value in the namespace; return how many. Not atomic, safe to repeat."""
        return await self._driver.clear(self.base)

    # For code built on this: where a value is, and how it is stored.

    def at(self, key: str) -> Key:
        """Return the key of the value in the database."""
        return self._form.at(key)

    def encode(self, key: str, value: V) -> str:
        """Return the stored form: JSON text, below a header if the version or a real key must be kept."""
        return self._form.encode(key, value)

    def decode(self, item: Item, key: str) -> V:
        """Return the value in an item. Raises `CorruptDataError`, also for another key with the same digest."""
        return self._form.decode(item, key)

    def _listing(self, query: str, shown: Callable[[Item], T], limit: int | None, cursor: str | None) -> Listing[T]:
        async def fetch(position: str | None, count: int) -> tuple[Sequence[T | CorruptDataError], str | None]:
            page = await scan_each(self._driver, Range(self.base, after=position, limit=count))
            return [readable(shown, item) for item in page.items], page.next

        return Listing([self.base, query], fetch, limit=limit, cursor=cursor, positions=KeysBelow(self.base))

    async def _by_key(self, keys: Iterable[str], *, values: bool = True) -> Sequence[tuple[str, Item | None]]:
        asked = list(dict.fromkeys(checked_text(key, "key") for key in keys))
        items = await get_parts(self._driver, [self.at(key) for key in asked], values=values)
        return list(zip(asked, items, strict=True))

    def _missing(self, key: str) -> NotFoundError:
        return NotFoundError(f"there is no record {key!r} in the namespace {self.namespace!r}: set it first")
