"""Plain keys and values, with mounts and prefixes, on any driver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from ..._arguments import checked_arguments
from ..._errors import ConflictError, InvalidKeyError, InvalidValueError, NotFoundError, TooLargeError
from ..._json import check_size, dump_plain
from ..._run_to_end import run_to_end
from ...driver import KEEP, Delete, Driver, Etag, If, Key, Put, Value
from ...opening import open_driver
from ...structures import Plan, ReadSet, transact
from .._durations import ttl_to_ms
from ._mounts import Mount, Mounts
from ._paths import Path, join, key_of, split
from ._plain import Plain, read, true_paths, write
from ._watchers import Callback, Unwatch, Watchers

__all__ = ["Meta", "Storage"]


@dataclass(frozen=True, slots=True)
class Meta:
    """What is known of an item besides its value."""

    etag: Etag
    updated_at: datetime
    """UTC, by the backend's clock."""
    ttl: float | None
    """Seconds until it expires; `None`: never."""
    data: Mapping[str, Any]
    """What the application set with `set_meta`."""


@checked_arguments
class Storage:
    """Items by keys like `users:alice`: JSON values, which come back with their type, or raw bytes.

    Only `:` separates segments; keys are never cut or merged. Made by `create_storage`; close it, or use it in
    `async with`. Methods raise `InvalidKeyError` for an empty key and whatever the driver raises.
    """

    def __init__(self, root: Driver) -> None:
        self._mounts = Mounts(root)
        self._watchers = Watchers(self._mounts)
        self._base: Path = ()

    @property
    def driver(self) -> Driver:
        """The open driver behind the root."""
        return self._mounts.serving(()).driver

    # Reading.

    async def has_item(self, key: str) -> bool:
        """Return whether there is an item, without reading its value."""
        mount, at, _ = self._locate(key)
        (item,) = await mount.driver.get([at], values=False)
        return item is not None

    async def get_item(self, key: str, default: Any = None) -> Any:
        """Return the value, or `default` if there is none; bytes if it was set raw."""
        mount, at, _ = self._locate(key)
        (item,) = await mount.driver.get([at])
        return default if item is None else read(item).value

    async def get_items(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of several keys, in order, `None` for missing ones; one call per driver."""
        asked = {key: self._locate(key) for key in keys}
        values = dict.fromkeys(asked)
        for mount, found in _by_mount(asked).items():
            limit = mount.driver.capabilities.max_keys
            for start in range(0, len(found), limit):
                part = found[start : start + limit]
                items = await mount.driver.get([at for _, at in part])
                values |= {key: read(item).value for (key, _), item in zip(part, items, strict=True) if item}
        return values

    async def get_item_raw(self, key: str) -> bytes | None:
        """Return the stored bytes (a JSON value as UTF-8 text), or `None`."""
        mount, at, _ = self._locate(key)
        (item,) = await mount.driver.get([at])
        return None if item is None else read(item).raw

    async def get_meta(self, key: str) -> Meta | None:
        """Return etag, time of the last write, time to live and the application's metadata, or `None`."""
        mount, at, _ = self._locate(key)
        (item,) = await mount.driver.get([at])
        if item is None:
            return None
        updated_at = datetime.fromtimestamp(item.updated_at / 1000, UTC)
        return Meta(item.etag, updated_at, None if item.ttl_ms is None else item.ttl_ms / 1000, read(item).meta)

    async def get_keys(self, base: str = "") -> AsyncIterator[str]:
        """Yield every key below `base` (not `base` itself), in key order, including mounts, in constant memory."""
        async for path in self._paths((*self._base, *split(base))):
            yield join(path[len(self._base) :])

    # Writing.

    async def set_item(
        self,
        key: str,
        value: Any,
        *,
        ttl: float | timedelta | None = None,
        meta: Mapping[str, Any] | None = None,
        if_match: Etag | None = None,
        if_absent: bool = False,
    ) -> Etag:
        """Store a JSON value and return its etag. An existing item is replaced: value, expiry and metadata.

        `ttl` is in seconds (or a timedelta), more than 0. Raises `ConflictError` if `if_match` or `if_absent` does
        not hold, `InvalidValueError` for a value that would come back changed.
        """
        return await self._set(key, dump_plain(value, "the value"), ttl, meta, if_match, if_absent)

    async def set_item_raw(
        self,
        key: str,
        value: bytes | bytearray | memoryview,
        *,
        ttl: float | timedelta | None = None,
        meta: Mapping[str, Any] | None = None,
        if_match: Etag | None = None,
        if_absent: bool = False,
    ) -> Etag:
        """Store bytes and return their etag; otherwise like `set_item`."""
        if not isinstance(value, bytes | bytearray | memoryview):
            raise InvalidValueError(
                f"set_item_raw takes bytes, not {type(value).__name__}: use set_item for JSON values"
            )
        check_size(memoryview(value), "the value")
        return await self._set(key, bytes(value), ttl, meta, if_match, if_absent)

    async def set_items(
        self, items: Mapping[str, Any], *, ttl: float | timedelta | None = None, atomic: bool = True
    ) -> dict[str, Etag]:
        """Store several JSON values and return their etags, all or none of those on one driver.

        Raises `TooLargeError` if the driver does not accept that many in one batch, unless `atomic=False`: then each
        value is stored separately, and a failure halfway leaves those that were stored.
        """
        ttl_ms = ttl_to_ms(ttl)
        located = {key: self._locate(key) for key in items}
        puts = {
            key: Put(at, write(at, mount.inner(path), dump_plain(items[key], "the value"), {}), None, ttl_ms)
            for key, (mount, at, path) in located.items()
        }
        for mount, found in _by_mount(located).items():
            await _apply(mount, [puts[key] for key, _ in found], atomic)
            for key, _ in found:
                self._watchers.wrote(mount, "update", located[key][2])
        return {key: put.etag for key, put in puts.items()}

    async def remove_item(self, key: str, *, if_match: Etag | None = None) -> bool:
        """Delete an item with its metadata; return whether there was one. Raises `ConflictError` with `if_match`."""
        mount, at, path = self._locate(key)
        try:
            await mount.driver.apply([Delete(at, if_match or If.PRESENT)])
        except ConflictError:
            if if_match is not None:
                raise
            return False
        self._watchers.wrote(mount, "remove", path)
        return True

    async def set_meta(self, key: str, data: Mapping[str, Any]) -> None:
        """Replace the application's metadata of an item, keeping its value and expiry. Raises `NotFoundError`."""
        dump_plain(dict(data), "meta")
        await self._change(key, lambda plain: Plain(plain.path, plain.payload, data))

    async def remove_meta(self, key: str) -> None:
        """Remove the application's metadata of an item. Raises `NotFoundError`."""
        await self._change(key, lambda plain: Plain(plain.path, plain.payload, {}))

    async def clear(self, base: str = "") -> int:
        """Delete every item below `base` (not `base` itself), including mounts; return how many."""
        path = (*self._base, *split(base))
        removed = 0
        mounts = self._mounts.below(path)
        for mount in mounts:
            start = path if len(path) > len(mount.base) else mount.base
            if len(mounts) > 1 or self._watchers.want(mount):  # keep hidden items; notify of each key
                removed += await self._clear_visible(mount, start)
            else:
                removed += await mount.driver.clear(key_of(mount.inner(start)))
        return removed

    # Mounts, prefixes, watching, snapshots.

    async def mount(self, base: str, driver: str | Driver) -> None:
        """Let another driver serve `base` and everything below it. Existing items there are hidden, not deleted.

        Raises `ConfigurationError` if something is already mounted at `base`.
        """
        path = (*self._base, *self._key(base))
        self._mounts.ensure_free(path)
        opened = await open_driver(driver)
        try:
            self._mounts.add(path, opened)
        except BaseException:
            await opened.close()
            raise
        self._watchers.mounted(self._mounts.serving(path))

    async def unmount(self, base: str) -> None:
        """Close what is mounted at `base`; hidden items become visible again. Raises `NotFoundError`."""
        path = (*self._base, *split(base))
        unmounted = self._mounts.remove(path)
        await self._watchers.unmounted(path)
        await unmounted.close()

    def get_mounts(self, base: str = "") -> dict[str, Driver]:
        """Return what is mounted at and below `base`, by path; `""` is the root."""
        path = (*self._base, *split(base))
        found = {mount.base: mount.driver for mount in self._mounts.below(path) if mount.base[: len(path)] == path}
        return {join(at[len(self._base) :]): driver for at, driver in found.items()}

    def with_prefix(self, prefix: str) -> Storage:
        """Return a view of this storage from `prefix`: the same items, mounts and watchers, with shorter keys."""
        return self._seen_from((*self._base, *split(prefix)))

    async def watch(self, callback: Callback, base: str = "") -> Unwatch:
        """Call `callback(event, key)` after items below `base` change; return a function to end it.

        The event is `"update"` or `"remove"`. If the driver declares `watch`, changes by other processes are included,
        and no call is guaranteed: it may come twice, late, or (after a lost connection) not at all. Expiry causes none.
        """
        return await self._watchers.add(callback, (*self._base, *split(base)), self._base)

    async def unwatch(self) -> None:
        """End every watch below this storage's prefix."""
        await self._watchers.remove(self._base)

    async def snapshot(self, base: str = "") -> dict[str, Any]:
        """Return every value below `base` by its key relative to `base`, raw ones as bytes.

        Not one moment: read in order.
        """
        path = (*self._base, *split(base))
        values = {}
        async for mount, item in self._mounts.walk(path, values=True):
            plain = read(item)
            values[join((*mount.base, *plain.path)[len(path) :])] = plain.value
        return values

    async def restore_snapshot(self, snapshot: Mapping[str, Any], base: str = "", *, replace: bool = False) -> None:
        """Store every value of a snapshot below `base`; with `replace`, delete existing items that are not in it."""
        view = self.with_prefix(base) if base else self
        if replace:
            for key in [key async for key in view.get_keys() if key not in snapshot]:
                await view.remove_item(key)
        for key, value in snapshot.items():
            if isinstance(value, bytes):
                await view.set_item_raw(key, value)
        await view.set_items({k: v for k, v in snapshot.items() if not isinstance(v, bytes)}, atomic=False)

    async def aclose(self) -> None:
        """Wait for calls under way, end every watch, close every mount and the root.

        This also ends all prefix views.
        """
        await run_to_end(self._close())

    async def _close(self) -> None:
        self._mounts.ensure_owner()
        await self._watchers.remove(())
        await self._mounts.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # Implementation.

    def _seen_from(self, base: Path) -> Storage:
        view = Storage.__new__(Storage)
        view._mounts, view._watchers, view._base = self._mounts, self._watchers, base
        return view

    def _key(self, key: str) -> Path:
        path = split(key)
        if not path:
            raise InvalidKeyError("the key is empty: it needs at least one character")
        return path

    def _locate(self, key: str) -> tuple[Mount, Key, Path]:
        path = (*self._base, *self._key(key))
        mount = self._mounts.serving(path)
        return mount, key_of(mount.inner(path)), path

    async def _set(
        self,
        key: str,
        payload: Value,
        ttl: float | timedelta | None,
        meta: Mapping[str, Any] | None,
        if_match: Etag | None,
        if_absent: bool,
    ) -> Etag:
        if if_absent and if_match is not None:
            raise InvalidValueError("if_match and if_absent exclude each other: pass only one")
        if meta:
            dump_plain(dict(meta), "meta")
        mount, at, path = self._locate(key)
        cond = If.ABSENT if if_absent else if_match
        put = Put(at, write(at, mount.inner(path), payload, meta or {}), cond, ttl_to_ms(ttl))
        await mount.driver.apply([put])
        self._watchers.wrote(mount, "update", path)
        return put.etag

    async def _change(self, key: str, change: Any) -> None:
        mount, at, path = self._locate(key)

        def plan(reads: ReadSet) -> Plan[None]:
            item = reads[at]
            if item is None:
                raise NotFoundError(f"there is no item {key!r}: set it first")
            plain: Plain = change(read(item))
            return Plan([Put(at, write(at, mount.inner(path), plain.payload, plain.meta), item.etag, KEEP)], None)

        await transact(mount.driver, [at], plan)
        self._watchers.wrote(mount, "update", path)

    async def _clear_visible(self, mount: Mount, start: Path) -> int:
        root = self._seen_from(())
        removed = [await root.remove_item(join(path)) async for path in self._paths(start, mount)]
        return sum(removed)

    async def _paths(self, start: Path, only: Mount | None = None) -> AsyncIterator[Path]:
        async for mount, item in self._mounts.walk(start, values=False):
            (path,) = await true_paths(mount.driver, [item]) if only in (None, mount) else (None,)
            if path is not None:
                yield (*mount.base, *path)


def _by_mount(located: Mapping[str, tuple[Mount, Key, Path]]) -> dict[Mount, list[tuple[str, Key]]]:
    found: dict[Mount, list[tuple[str, Key]]] = {}
    for key, (mount, at, _) in located.items():
        found.setdefault(mount, []).append((key, at))
    return found


async def _apply(mount: Mount, puts: list[Put], atomic: bool) -> None:
    limits = mount.driver.capabilities
    if atomic:
        if len(puts) > limits.max_writes:
            raise TooLargeError(
                f"{len(puts)} items at once, but this driver takes at most {limits.max_writes} in a batch: "
                "use several calls, or pass atomic=False"
            )
        await mount.driver.apply(puts)
        return
    for outcome in await mount.driver.commit([[put] for put in puts]):
        if isinstance(outcome, Exception):
            raise outcome
