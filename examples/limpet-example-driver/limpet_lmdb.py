"""Limpet on LMDB: a memory-mapped B+tree in one folder, shared by any number of processes on a machine."""

import asyncio
import os
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Self
from weakref import WeakValueDictionary

import lmdb
from limpet import ConfigurationError, CorruptDataError, LimpetError, UnavailableError
from limpet.driver import Capabilities, Etag, Health, Item, Key, Outcome, Page, Range, Unit, kit

__all__ = ["LmdbDriver"]

_HEAD = 500  # LMDB takes keys of 511 bytes, the contract 1,024: a row holds all records whose keys begin with these
_PART = struct.Struct(">HI22sQQ")
"""Before each record of a row: bytes of the key's rest, bytes of the value, etag, written at, expires at (0: never)."""

_environments: WeakValueDictionary[tuple[int, Path], lmdb.Environment] = WeakValueDictionary()
"""By process and folder, for LMDB lets a process open a folder once: drivers share it, the last one closes it."""
_mutex = threading.Lock()


class LmdbDriver(kit.BaseDriver):
    """Items in one LMDB environment. An acknowledged write was synced to the disk; readers never wait for writers."""

    capabilities = Capabilities(durable="disk", shared=True, append=True)
    client_errors: ClassVar[tuple[type[Exception], ...]] = (lmdb.Error, OSError)

    def __init__(self, folder: str | os.PathLike[str], *, map_gib: int = 16) -> None:
        """`folder` is made when missing, the one around it is not. `map_gib` is the most that the place may grow to."""
        super().__init__()
        self._folder, self._map_size = Path(folder).resolve(), map_gib * 1024**3
        self._turn = kit.FileLock(str(self._folder / "turn"), timeout=30)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`lmdb://./data` or `lmdb:///srv/data?map_gib=64`."""
        parts = kit.parse_url(url)
        if not parts.rest:
            raise ConfigurationError("lmdb:// names no folder: write lmdb://./data, or lmdb:///srv/data")
        return cls(parts.rest, **kit.read_options(parts, {"map_gib": int}))

    async def _open(self) -> None:
        self._env = await asyncio.to_thread(self._attach)
        self._worker = kit.Worker(f"limpet-lmdb {self._folder}")

    def _attach(self) -> lmdb.Environment:
        with _mutex:
            env = _environments.get(place := (os.getpid(), self._folder))
            if env is None:
                self._folder.mkdir(exist_ok=True)
                env = _environments[place] = lmdb.open(str(self._folder), map_size=self._map_size, max_readers=1024)
                for folder in (self._folder, self._folder.parent) if os.name == "posix" else ():
                    handle = os.open(folder, os.O_RDONLY)  # a new file is on the disk once its folder is
                    os.fsync(handle)
                    os.close(handle)
            return env

    async def _close(self) -> None:
        await self._worker.run(self._detach)
        self._worker.stop()

    def _detach(self) -> None:
        self._turn.close()
        with _mutex:
            del self._env

    async def _fetch(self, keys: Sequence[Key], values: bool) -> list[Item | None]:
        def fetch() -> list[Item | None]:
            with self._env.begin() as txn:
                now = kit.host_now_ms()
                found = [(key, _row(txn, key).get(key)) for key in keys]
            return [None if it is None or it.gone(now) else it.item(key, now, values=values) for key, it in found]

        return await self._worker.run(fetch)

    async def _commit(self, units: Sequence[Unit]) -> list[Outcome]:
        def commit() -> list[Outcome]:
            with self._turn.held(), self._env.begin(write=True) as txn:  # LMDB's own queue cannot be left again
                records = {key: _row(txn, key).get(key) for key in kit.keys_to_read(units)}
                evaluation = kit.evaluate(units, kit.host_now_ms(), records)
                for key, record in evaluation.effects.items():
                    _write(txn, key, record)
            return evaluation.outcomes

        return await self._worker.run(commit)

    async def _list(self, range: Range) -> Page:
        def page() -> Page:
            with self._env.begin() as txn:
                now = kit.host_now_ms()
                found = _records(txn, *kit.between(range), range.reverse)
                return kit.to_page(
                    (it.item(at, now, values=range.values) for at, it in found if not it.gone(now)), range.limit
                )

        return await self._worker.run(page)

    async def _health(self) -> Health:
        return Health("LMDB", ".".join(map(str, lmdb.version())), kit.host_now_ms())

    def _translate(self, error: Exception) -> LimpetError:
        if isinstance(error, lmdb.MapFullError):
            return UnavailableError(f"{self._folder} is full: open it with a larger map_gib")
        if isinstance(error, lmdb.CorruptedError | lmdb.InvalidError | lmdb.VersionMismatchError):
            return CorruptDataError(f"{self._folder} is damaged, or not LMDB's: restore a backup ({error})")
        # After a failed sync a write may be there all the same.
        return UnavailableError(f"check {self._folder}: {error}", sent=isinstance(error, lmdb.DiskError))


def _row(txn: lmdb.Transaction, key: Key) -> dict[Key, kit.Record]:
    return dict(_unpacked(head := key.encode()[:_HEAD], bytes(txn.get(head, b""))))


def _write(txn: lmdb.Transaction, key: Key, record: kit.Record | None) -> None:
    parts = []
    for at, it in sorted({**_row(txn, key), key: record}.items()):
        if it is not None and it.value is not None:  # every record was read with its value
            rest, value = at.encode()[_HEAD:], kit.to_bytes(it.value)
            times = (it.updated_at, it.expires_at or 0)
            parts += [_PART.pack(len(rest), len(value), it.etag.encode(), *times), rest, value]
    _ = txn.put(key.encode()[:_HEAD], b"".join(parts)) if parts else txn.delete(key.encode()[:_HEAD])


def _records(txn: lmdb.Transaction, low: Key, high: Key | None, reverse: bool) -> Iterator[tuple[Key, kit.Record]]:
    """Records with `low <= key < high`, in order or in reverse."""
    cursor = txn.cursor()
    if not cursor.set_range((high or "\x7f" if reverse else low).encode()[:_HEAD]):  # no key is above \x7f
        cursor.last()
    for head, row in cursor.iterprev() if reverse else cursor.iternext():
        for key, record in sorted(_unpacked(bytes(head), bytes(row)), reverse=reverse):
            if low <= key and (high is None or key < high):
                yield key, record
            elif (key < low) == reverse:
                return


def _unpacked(head: bytes, row: bytes) -> Iterator[tuple[Key, kit.Record]]:
    end = 0
    while end < len(row):
        rest, size, etag, updated_at, expires_at = _PART.unpack_from(row, end)
        middle = end + _PART.size + rest
        key, end = (head + row[middle - rest : middle]).decode(), middle + size
        value = kit.from_bytes(row[middle:end])
        yield key, kit.Record(value, Etag(etag.decode()), updated_at, expires_at or None)
