"""Plain keys and values, and blobs, without `await`. Written by scripts/generate_sync.py: change the asynchronous API, and write it anew."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from datetime import timedelta
from typing import Any, Literal

from ..driver import Driver as AsyncDriver
from ..driver import Etag
from ..records import BlobRecord
from ..stores import BlobStore as AsyncBlobStore
from ..stores import Meta
from ..stores import Storage as AsyncStorage
from ..structures import RepairReport
from ._callbacks import Readable, in_thread, read_in_thread
from ._driver import Driver
from ._face import Face, Root
from ._listing import Listing

__all__ = ["BlobStore", "Storage"]


class Storage(Root[AsyncStorage]):
    """Items by keys like `users:alice`: JSON values, which come back with their type, or raw bytes.

    Only `:` separates segments; keys are never cut or merged. Made by `create_storage`; close it, or use it in
    `with`. Methods raise `InvalidKeyError` for an empty key and whatever the driver raises.
    """

    @property
    def driver(self) -> Driver:
        """The open driver behind the root."""
        return Driver(self._portal, self._inner.driver)

    def has_item(self, key: str) -> bool:
        """Return whether there is an item, without reading its value."""
        return self._call(self._inner.has_item, key)

    def get_item(self, key: str, default: Any = None) -> Any:
        """Return the value, or `default` if there is none; bytes if it was set raw."""
        return self._call(self._inner.get_item, key, default)

    def get_items(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of several keys, in order, `None` for missing ones; one call per driver."""
        return self._call(self._inner.get_items, keys)

    def get_item_raw(self, key: str) -> bytes | None:
        """Return the stored bytes (a JSON value as UTF-8 text), or `None`."""
        return self._call(self._inner.get_item_raw, key)

    def get_meta(self, key: str) -> Meta | None:
        """Return etag, time of the last write, time to live and the application's metadata, or `None`."""
        return self._call(self._inner.get_meta, key)

    def get_keys(self, base: str = "") -> Generator[str, None, None]:
        """Yield every key below `base` (not `base` itself), in key order, including mounts, in constant memory."""
        return self._iterate(self._inner.get_keys(base))

    def set_item(
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
        return self._call(self._inner.set_item, key, value, ttl=ttl, meta=meta, if_match=if_match, if_absent=if_absent)

    def set_item_raw(
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
        return self._call(
            self._inner.set_item_raw, key, value, ttl=ttl, meta=meta, if_match=if_match, if_absent=if_absent
        )

    def set_items(
        self, items: Mapping[str, Any], *, ttl: float | timedelta | None = None, atomic: bool = True
    ) -> dict[str, Etag]:
        """Store several JSON values and return their etags, all or none of those on one driver.

        Raises `TooLargeError` if the driver does not accept that many in one batch, unless `atomic=False`: then each
        value is stored separately, and a failure halfway leaves those that were stored.
        """
        return self._call(self._inner.set_items, items, ttl=ttl, atomic=atomic)

    def remove_item(self, key: str, *, if_match: Etag | None = None) -> bool:
        """Delete an item with its metadata; return whether there was one. Raises `ConflictError` with `if_match`."""
        return self._call(self._inner.remove_item, key, if_match=if_match)

    def set_meta(self, key: str, data: Mapping[str, Any]) -> None:
        """Replace the application's metadata of an item, keeping its value and expiry. Raises `NotFoundError`."""
        self._call(self._inner.set_meta, key, data)

    def remove_meta(self, key: str) -> None:
        """Remove the application's metadata of an item. Raises `NotFoundError`."""
        self._call(self._inner.remove_meta, key)

    def clear(self, base: str = "") -> int:
        """Delete every item below `base` (not `base` itself), including mounts; return how many."""
        return self._call(self._inner.clear, base)

    def mount(self, base: str, driver: str | AsyncDriver) -> None:
        """Let another driver serve `base` and everything below it. Existing items there are hidden, not deleted.

        Raises `ConfigurationError` if something is already mounted at `base`.
        """
        self._call(self._inner.mount, base, driver)

    def unmount(self, base: str) -> None:
        """Close what is mounted at `base`; hidden items become visible again. Raises `NotFoundError`."""
        self._call(self._inner.unmount, base)

    def get_mounts(self, base: str = "") -> dict[str, Driver]:
        """Return what is mounted at and below `base`, by path; `""` is the root."""
        return {at: Driver(self._portal, driver) for at, driver in self._inner.get_mounts(base).items()}

    def with_prefix(self, prefix: str) -> Storage:
        """Return a view of this storage from `prefix`: the same items, mounts and watchers, with shorter keys."""
        return Storage(self._portal, self._inner.with_prefix(prefix))

    def watch(
        self, callback: Callable[[Literal["update", "remove"], str], object], base: str = ""
    ) -> Callable[[], None]:
        """Call `callback(event, key)` after items below `base` change; return a function to end it.

        The event is `"update"` or `"remove"`. If the driver declares `watch`, changes by other processes are included,
        and no call is guaranteed: it may come twice, late, or (after a lost connection) not at all. Expiry causes none.
        """
        return self._ending(self._inner.watch, in_thread(callback), base)

    def unwatch(self) -> None:
        """End every watch below this storage's prefix."""
        self._call(self._inner.unwatch)

    def snapshot(self, base: str = "") -> dict[str, Any]:
        """Return every value below `base` by its key relative to `base`, raw ones as bytes.

        Not one moment: read in order.
        """
        return self._call(self._inner.snapshot, base)

    def restore_snapshot(self, snapshot: Mapping[str, Any], base: str = "", *, replace: bool = False) -> None:
        """Store every value of a snapshot below `base`; with `replace`, delete existing items that are not in it."""
        self._call(self._inner.restore_snapshot, snapshot, base, replace=replace)


class BlobStore(Face[AsyncBlobStore]):
    """Bytes by id, newest first. A blob exists once all of it is stored, and never changes."""

    def create(
        self,
        source: bytes | Readable | Iterable[bytes],
        *,
        content_type: str | None = None,
        id: str | None = None,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> BlobRecord:
        """Store bytes of any length in constant memory, and return their record.

        A file is read from its current position, in a thread, and left open. Raises `ConflictError` if the id is taken;
        what had been stored is then freed.
        """
        return self._call(
            self._inner.create, read_in_thread(source), content_type=content_type, id=id, name=name, metadata=metadata
        )

    def get(self, id: str) -> BlobRecord | None:
        """Return the record of a blob, or `None`."""
        return self._call(self._inner.get, id)

    def exists(self, id: str) -> bool:
        """Return whether there is such a blob."""
        return self._call(self._inner.exists, id)

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[BlobRecord]:
        """List all blobs, newest first, without their bytes."""
        return Listing(self._portal, self._inner.list(limit=limit, cursor=cursor))

    def read(self, id: str, *, start: int = 0, end: int | None = None) -> Generator[bytes, None, None]:
        """Yield the bytes from `start` up to `end` (exclusive) in pieces, in constant memory.

        Raises `NotFoundError`, and `CorruptDataError` if the blob is deleted meanwhile.
        """
        return self._iterate(self._inner.read(id, start=start, end=end))

    def read_bytes(self, id: str, *, start: int = 0, end: int | None = None) -> bytes:
        """Return the bytes of a blob, or a range of them, all at once. Raises `NotFoundError`."""
        return self._call(self._inner.read_bytes, id, start=start, end=end)

    def delete(self, id: str) -> bool:
        """Delete a blob and free what no other blob uses; return whether there was one.

        Readers of the blob get `CorruptDataError` when they reach what is gone.
        """
        return self._call(self._inner.delete, id)

    def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Compare every record with its index entries and repair these; with `dry_run`, only count what is wrong.

        Only needed after something else changed the data.
        """
        return self._call(self._inner.repair, dry_run=dry_run)
