"""Reading backups: checking one, and restoring one to any driver."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from .._errors import ConfigurationError, CorruptDataError
from ..driver import Delete, Driver, If, Key, Put, Range
from ..driver.kit import scan_pages
from ..opening import MANIFEST
from ._backup_file import Label, is_stored, stored_items, unpacked
from ._database import MARKER
from ._passes import Done, copy_from, settled
from ._progress import OnProgress, Progress

__all__ = ["BackupContents", "check_backup", "restore"]


@dataclass(frozen=True, slots=True)
class BackupContents:
    """What reading a whole backup showed."""

    items: int
    source: str
    """The URL of the database, without a password."""
    taken_at: datetime
    consistent: bool
    """Whether the last comparison with the database found no difference. If not, it was written to all the time."""
    encrypted: bool
    """Whether the values are encrypted, so that the database's key is needed to read what is restored."""


async def check_backup(path: str | os.PathLike[str], *, progress: OnProgress = None) -> BackupContents:
    """Read a whole backup, and return what it contains. Raises `CorruptDataError` if it is damaged or not a backup."""
    async with unpacked(Path(path)) as (source, label):
        return await _read(source, label, path, progress)


async def restore(
    path: str | os.PathLike[str], target: str | Driver, *, replace: bool = False, progress: OnProgress = None
) -> BackupContents:
    """Restore a backup to an empty database, on any driver; return what it contains.

    Items that have expired since are not restored. `replace=True` deletes everything in the target first. If it is
    interrupted, run it again: it continues. Do not use the target before it is complete. Raises `ConfigurationError`
    for a target that is not empty, and `CorruptDataError` for a damaged backup; nothing is written or deleted then.
    """
    async with unpacked(Path(path)) as (source, label), stored_items(target) as (destination, shown):
        contents = await _read(source, label, path, progress)
        after = await _begin(destination, label, replace, shown)
        done = Done(moves=is_stored)

        async def reached(position: Key) -> None:
            marker = _Restoring(taken_at=label.taken_at, source=label.source, after=position)
            await destination.apply([Put(MARKER, marker.model_dump_json())])
            if progress is not None:
                progress(Progress("restoring", done.copied, done.bytes))

        await copy_from(source, destination, after, done, reached)
        if not await settled(source, destination, done, progress):
            raise ConfigurationError(f"{shown} is being written to: stop everything that uses it, and restore again")
        await destination.apply([Delete(MARKER)])
        return contents


async def _read(source: Driver, label: Label, path: str | os.PathLike[str], progress: OnProgress) -> BackupContents:
    items = 0
    async for page in scan_pages(source.scan, Range(limit=1000)):
        items += sum(1 for item in page.items if is_stored(item.key))
        if progress is not None:
            progress(Progress("reading", items))
    if items > label.items:
        raise CorruptDataError(f"{path} says that it holds {label.items:,} items, but it holds {items:,}")
    (ring,) = await source.get(["keyring"], values=False)
    return BackupContents(items, label.source, label.taken_at, label.consistent, ring is not None)


class _Restoring(BaseModel):
    """In a target, until it is complete: which backup is restored, and how far that has come."""

    taken_at: datetime
    source: str
    after: Key | None = None


async def _begin(target: Driver, label: Label, replace: bool, shown: str) -> Key | None:
    (there,) = await target.get([MARKER])
    if there is not None and not replace:
        try:
            marker = _Restoring.model_validate_json(there.value or "")
        except ValidationError:
            marker = None
        if marker is not None and (marker.taken_at, marker.source) == (label.taken_at, label.source):
            return marker.after
    async for page in scan_pages(target.scan, Range(limit=500, values=False)):
        keys = [item.key for item in page.items]
        if replace:
            await target.apply([Delete(each) for each in keys])
        elif any(_is_data(each) for each in keys):
            raise ConfigurationError(
                f"{shown} is not empty: restore to an empty database, or pass replace=True (--replace), which deletes everything in it"
            )
    marker = _Restoring(taken_at=label.taken_at, source=label.source)
    await target.apply([Put(MARKER, marker.model_dump_json(), None if there is not None else If.ABSENT)])
    return None


def _is_data(key: Key) -> bool:
    """Return whether an item says that a database is in use, and not only that it was opened once."""
    return is_stored(key) and key.partition("!")[0] not in (MANIFEST, "keyring")
