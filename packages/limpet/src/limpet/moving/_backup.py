"""Backups: files that hold everything in a database, from which it can be restored on any driver."""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from .._errors import ConfigurationError, NotFoundError
from ..driver import Driver, Key, Put, Range
from ..driver.kit import scan_pages
from ..opening import MANIFEST
from ..records import utc_now
from ._backup_file import LABEL, Label, database_file, is_stored, pack, stored_items, sync_folder
from ._database import Database
from ._passes import Done, copy_from, settled
from ._progress import OnProgress

__all__ = ["Backup", "BackupReport", "Keep", "backup", "backups"]

_NAME = re.compile(r"(?P<prefix>.+)-(?P<taken>\d{8}T\d{6}Z)(?:-(?P<n>\d+))?\.limpet\.db\.(?:zst|gz)")


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup."""

    path: Path
    taken_at: datetime
    """When it was begun, in UTC."""
    bytes: int
    """Of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Which backups to keep: the newest `count`, and all that are younger than `age`. The newest is always kept."""

    count: int | None = None
    age: timedelta | None = None

    def __post_init__(self) -> None:
        if self.count is None and self.age is None:
            raise ConfigurationError("this would delete every backup: pass count=, age=, or both")
        if self.count is not None and self.count < 1:
            raise ConfigurationError(f"count is {self.count}: keep at least one backup")
        if self.age is not None and self.age <= timedelta(0):
            raise ConfigurationError(f"age is {self.age}: use more than nothing")


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup did."""

    backup: Backup
    items: int
    consistent: bool
    """Whether the last comparison with the database found no difference. If not, it was written to all the time."""
    damaged: dict[Key, str]
    """The stored key of each item that could not be read, and why. These are not in the backup."""
    removed: tuple[Path, ...]
    """Older backups that `keep` did not keep."""


async def backup(
    database: Database,
    folder: str | os.PathLike[str],
    *,
    prefix: str = "limpet",
    keep: Keep | None = None,
    progress: OnProgress = None,
) -> BackupReport:
    """Write everything in a database to a new file in a folder, and return what was done.

    The database may be in use: what changes meanwhile is compared and copied again, up to ten times. What is encrypted in the database is
    encrypted in the backup, with the database's own keys; nothing needs to be decrypted. The file is compressed, and
    appears under its name, `<prefix>-<time in UTC>.limpet.db.zst`, only when it is complete and synced. `keep` deletes older
    backups with the same prefix afterwards.

    A backup is an SQLite database, so the package `limpet-sqlite` must be installed. Raises `NotFoundError` for a
    database that was never written.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", prefix):
        raise ConfigurationError(f"prefix is {prefix!r}: use letters, digits, '.', '_' and '-'")
    taken_at = utc_now().replace(microsecond=0)
    async with stored_items(database, reading=True) as (source, shown):
        if await source.get([MANIFEST], values=False) == [None]:
            raise NotFoundError(f"{shown} was never written, so there is nothing to back up: check the URL")
        done = Done(moves=is_stored)
        into = await asyncio.to_thread(_made, folder)
        with TemporaryDirectory(prefix=f".{prefix}-", dir=into) as temporary:
            copied = Path(temporary) / "backup.db"
            async with database_file(copied) as target:
                await copy_from(source, target, None, done, _ignore)
                consistent = await settled(source, target, done, progress) and not done.damaged
                items = await _count(target)
                label = Label(source=shown, taken_at=taken_at, items=items, consistent=consistent)
                await target.apply([Put(LABEL, label.model_dump_json())])
            path = await asyncio.to_thread(pack, copied, into, f"{prefix}-{taken_at:%Y%m%dT%H%M%SZ}")
        removed = () if keep is None else await asyncio.to_thread(_remove_old, into, prefix, keep, taken_at)
    found = Backup(path, taken_at, path.stat().st_size)
    return BackupReport(found, items, consistent, dict(sorted(done.damaged.items())), removed)


def backups(folder: str | os.PathLike[str], *, prefix: str = "limpet") -> list[Backup]:
    """Return the complete backups in a folder, newest first."""
    into = Path(folder)
    if not into.is_dir():
        raise NotFoundError(f"{into} is not a folder: pass the one that backups were written to")
    found: list[tuple[int, Backup]] = []
    for path in into.iterdir():
        match = _NAME.fullmatch(path.name)
        if match is not None and match["prefix"] == prefix and path.is_file():
            taken_at = datetime.strptime(match["taken"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            found.append((int(match["n"] or 1), Backup(path, taken_at, path.stat().st_size)))
    newest_first = sorted(found, key=lambda each: (each[1].taken_at, each[0]), reverse=True)
    return [each for _, each in newest_first]


def _made(folder: str | os.PathLike[str]) -> Path:
    into = Path(folder).absolute()
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{into} cannot be made a folder for backups: {error.strerror}") from error
    return into


def _remove_old(folder: Path, prefix: str, keep: Keep, now: datetime) -> tuple[Path, ...]:
    _newest, *others = backups(folder, prefix=prefix)
    removed = tuple(
        each.path
        for at, each in enumerate(others, 1)
        if not (keep.count is not None and at < keep.count)
        and not (keep.age is not None and now - each.taken_at <= keep.age)
    )
    for path in removed:
        path.unlink(missing_ok=True)
    if removed:
        sync_folder(folder)
    return removed


async def _count(driver: Driver) -> int:
    count = 0
    async for page in scan_pages(driver.scan, Range(limit=1000, values=False)):
        count += sum(1 for item in page.items if is_stored(item.key))
    return count


async def _ignore(position: Key) -> None:
    pass
