"""What a driver writes into a store that can only get, put and delete: numbered commits, and now and then everything at once."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from secrets import token_hex
from typing import Any, TypeAlias

from limpet import ConfigurationError, CorruptDataError, FormatError
from limpet.driver import Etag, Key
from limpet.driver.kit import Record, size_of

from key_value.aio.protocols.key_value import AsyncKeyValue

__all__ = ["CommitLog", "Effects"]

Effects: TypeAlias = Mapping[Key, Record | None]
"""Records by key; `None` for one that is deleted."""

_FORMAT = 1
_MANIFEST = "manifest"
_AT_ONCE = 100
_PART_BYTES = 512 * 1024


class CommitLog:
    """The commits of one database, in a collection of its own.

    A commit is one value, so the store writes all of it or nothing. Every opening numbers its commits anew, below a random name
    of its own: what an earlier owner still writes is not read, and damages nothing. The manifest says where everything is;
    putting it is what makes a new state valid.
    """

    def __init__(self, store: AsyncKeyValue, collection: str) -> None:
        self._store = store
        self._collection = collection
        self._epoch = token_hex(16)
        """The name of this opening's commits."""
        self._next = 0
        self._logs: list[tuple[str, int]] = []
        """The commits of earlier openings: the name, and how many."""
        self._parts = 0
        self._side = "a"
        """Snapshots are written to two sides in turn, so that one is always whole."""
        self._dropped: list[str] = []
        """What no longer counts."""

    @property
    def length(self) -> int:
        """Commits that are not in the snapshot."""
        return self._next + sum(count for _, count in self._logs)

    async def open(self) -> dict[Key, Record]:
        """Take over, and return all records. Raises `CorruptDataError`, `FormatError`."""
        manifest = await self._get(_MANIFEST)
        records: dict[Key, Record] = {}
        if manifest is not None:
            latest = self._read_manifest(manifest)
            for n in range(self._parts):
                part = await self._get(_part(self._side, n))
                if part is None:
                    raise CorruptDataError(
                        f"part {n} of the snapshot in the collection {self._collection!r} is missing"
                    )
                _apply(records, _unpacked(part))
            for epoch, count in self._logs:
                if await self._read(records, epoch, count) != count:
                    raise CorruptDataError(f"a commit in the collection {self._collection!r} is missing")
            self._logs.append((latest, await self._read(records, latest, None)))
        await self._put_manifest()
        return records

    async def check(self) -> None:
        """Raise `ConfigurationError` if another driver has taken over since."""
        manifest = await self._get(_MANIFEST)
        if manifest is None or manifest.get("epoch") != self._epoch:
            raise ConfigurationError(
                f"another driver has opened the collection {self._collection!r}: only one may have it open, in one process"
            )

    async def append(self, effects: Effects) -> None:
        """Add a commit."""
        at = _commit(self._epoch, self._next)
        await self._store.put(at, _packed(effects.items()), collection=self._collection)
        self._next += 1

    # Compaction, in three steps. Only the second one changes what counts.

    async def write_snapshot(self, records: Mapping[Key, Record]) -> int:
        """Write all records to the other side; return in how many parts."""
        parts = 0
        for part in _in_parts(records):
            await self._store.put(_part(self._other_side, parts), _packed(part), collection=self._collection)
            parts += 1
        return parts

    async def switch(self, parts: int) -> None:
        """Let the other side count, and no commit before."""
        logs = [*self._logs, (self._epoch, self._next)]
        self._dropped += [_commit(epoch, n) for epoch, count in logs for n in range(count)]
        self._dropped += [_part(self._side, n) for n in range(self._parts)]
        self._logs, self._epoch, self._next = [], token_hex(16), 0
        self._side, self._parts = self._other_side, parts
        await self._put_manifest()

    async def drop(self) -> None:
        """Free what no longer counts."""
        await self._store.delete_many(self._dropped, collection=self._collection)
        self._dropped = []

    @property
    def _other_side(self) -> str:
        return "b" if self._side == "a" else "a"

    async def _read(self, records: dict[Key, Record], epoch: str, count: int | None) -> int:
        """Read commits, all there are or a number of them; return how many were there."""
        n = 0
        while count is None or n < count:
            last = n + _AT_ONCE if count is None else min(n + _AT_ONCE, count)
            keys = [_commit(epoch, each) for each in range(n, last)]
            for commit in await self._store.get_many(keys, collection=self._collection):
                if commit is None:
                    return n
                _apply(records, _unpacked(commit))
                n += 1
        return n

    async def _get(self, key: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = await self._store.get(key, collection=self._collection)
        return found

    async def _put_manifest(self) -> None:
        manifest = {
            "format": _FORMAT,
            "epoch": self._epoch,
            "logs": [[epoch, count] for epoch, count in self._logs if count],
            "side": self._side,
            "parts": self._parts,
        }
        await self._store.put(_MANIFEST, manifest, collection=self._collection)

    def _read_manifest(self, manifest: Mapping[str, Any]) -> str:
        """Remember what a manifest says; return the name of the latest commits."""
        match manifest:
            case {"format": 1, "epoch": str(epoch), "logs": list(logs), "parts": int(parts), "side": "a" | "b" as side}:
                self._parts, self._side = parts, side
            case {"format": int(newer)} if newer > _FORMAT:
                raise FormatError(f"the collection {self._collection!r} has format {newer}: a newer release wrote it")
            case _:
                raise CorruptDataError(f"the collection {self._collection!r} contains no database of Limpet")
        for each in logs:
            match each:
                case [str(name), int(count)]:
                    self._logs.append((name, count))
                case _:
                    raise CorruptDataError(f"the manifest in the collection {self._collection!r} is damaged")
        return epoch


def _part(side: str, n: int) -> str:
    return f"snapshot-{side}-{n:06d}"


def _commit(epoch: str, n: int) -> str:
    return f"commit-{epoch}-{n:016d}"


def _apply(records: dict[Key, Record], effects: Iterable[tuple[Key, Record | None]]) -> None:
    for key, record in effects:
        if record is None:
            records.pop(key, None)
        else:
            records[key] = record


def _in_parts(records: Mapping[Key, Record]) -> Iterator[list[tuple[Key, Record | None]]]:
    part: list[tuple[Key, Record | None]] = []
    size = 0
    for key, record in records.items():
        part.append((key, record))
        size += len(key) + size_of(record.value or "")
        if size >= _PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _packed(effects: Iterable[tuple[Key, Record | None]]) -> dict[str, Any]:
    return {"records": [[key] if record is None else [key, *_values(record)] for key, record in effects]}


def _values(record: Record) -> list[Any]:
    value = record.value
    shown = {"b": b64encode(value).decode()} if isinstance(value, bytes) else value
    return [shown, record.etag, record.updated_at, record.expires_at]


def _unpacked(stored: Mapping[str, Any]) -> Iterator[tuple[Key, Record | None]]:
    for each in stored.get("records", [None]):
        match each:
            case [str(key)]:
                yield key, None
            case [str(key), str(value), str(etag), int(updated), None | int() as expires]:
                yield key, Record(value, Etag(etag), updated, expires)
            case [str(key), {"b": str(encoded)}, str(etag), int(updated), None | int() as expires]:
                try:
                    raw = b64decode(encoded, validate=True)
                except ValueError:
                    raise CorruptDataError(f"the value at {key!r} is not Base64", key=key) from None
                yield key, Record(raw, Etag(etag), updated, expires)
            case _:
                raise CorruptDataError("a commit contains what is no record")
