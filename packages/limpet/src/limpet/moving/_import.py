"""Imports: what an export wrote goes into a database, with its ids, times and order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from .._errors import ConfigurationError, ConflictError, CorruptDataError
from ..driver import Put
from ..stores import Persistence
from ..structures import content_driver
from ._choices import OnConflict
from ._clock import Clock
from ._conversation_import import ConversationImport
from ._database import Database, get_all, moves, opened_stores, put_all
from ._items import as_put
from ._lines import read_lines
from ._progress import OnProgress, Progress
from ._tally import ImportReport, Tally

__all__ = ["import_file"]

_BATCH = 200


async def import_file(
    file: str | os.PathLike[str],
    database: Database,
    *,
    on_conflict: OnConflict = "stop",
    dry_run: bool = False,
    progress: OnProgress = None,
) -> ImportReport:
    """Add what an export holds to a database, and return what was done.

    The file is read twice: first it is checked to its closing line, and compared with the database. So a file that is cut, damaged or of a
    newer release, and with `on_conflict="stop"` a conflict, raises before anything is written. Records that are there already are
    left alone, so an import that was interrupted is continued by running it again. `"skip"` keeps what is in the database, `"replace"`
    takes what is in the file. A conversation that is a beginning of the one in the file is continued.

    Ids, times, order and lineage are kept; the numbers of messages are new where some were deleted. `dry_run` writes nothing. Constant memory.
    Raises `CorruptDataError` and `FormatError`, which name the line, and `ConflictError`.
    """
    if on_conflict not in get_args(OnConflict):
        raise ConfigurationError(f"on_conflict is {on_conflict!r}: use one of {', '.join(get_args(OnConflict))}")
    path = Path(file)
    await asyncio.to_thread(_check_header, path)  # before a database is made
    async with opened_stores(database, new=not dry_run, reading=dry_run) as persistence:
        checked = await _taken(path, persistence, Tally(on_conflict), True, progress)
        if on_conflict == "stop" and checked.conflicts:
            raise ConflictError(
                f"{len(checked.conflicts):,} records are there already, and differ; the first is {checked.conflicts[0]}. Nothing was "
                "imported: keep what is there with skip, or take what is in the file with replace"
            )
        return checked if dry_run else await _taken(path, persistence, Tally(on_conflict), False, progress)


async def _taken(
    path: Path, persistence: Persistence, tally: Tally, dry_run: bool, progress: OnProgress
) -> ImportReport:
    conversations = ConversationImport(persistence, tally, dry_run)
    lines = read_lines(path)
    clock = await Clock.of(content_driver(persistence.driver))
    header = await asyncio.to_thread(next, lines)
    what = header[1]["what"]
    done = 0
    while batch := await asyncio.to_thread(_next, lines):
        if what == "all":
            await _items(persistence, batch, path, tally, dry_run, clock)
        else:
            for number, record in batch:
                await conversations.take(record, f"{path}, line {number}")
        done += len(batch)
        if progress is not None:
            progress(Progress("checking" if dry_run else "importing", done))
    await conversations.finish()
    return tally.report


def _check_header(path: Path) -> None:
    with closing(read_lines(path)) as lines:
        next(lines)


def _next(lines: Iterator[tuple[int, dict[str, Any]]]) -> list[tuple[int, dict[str, Any]]]:
    return list(islice(lines, _BATCH))


async def _items(
    persistence: Persistence,
    batch: list[tuple[int, dict[str, Any]]],
    path: Path,
    tally: Tally,
    dry_run: bool,
    clock: Clock,
) -> None:
    """Store items as they are, except what is there already."""
    driver = content_driver(persistence.driver)
    puts: list[Put] = []
    for number, record in batch:
        where = f"{path}, line {number}"
        if record["kind"] != "item":
            raise CorruptDataError(f"{where}: {record['kind'][:40]!r} is not an item")
        put = as_put(record, where, clock.now())
        if put is None:
            tally.report.skipped += 1
            continue
        if not moves(put.key):
            raise CorruptDataError(f"{where}: {put.key[:80]!r} belongs to a database itself, and is not imported")
        puts.append(put)
    wanted: list[Put] = []
    for put, there in zip(puts, await get_all(driver, [put.key for put in puts], values=False), strict=True):
        if there is None:
            tally.report.added += 1
        elif there.etag == put.etag:
            tally.report.equal += 1
            continue
        elif not tally.conflict(f"the item at {put.key[:200]!r}"):
            continue
        wanted.append(put)
    if not dry_run:
        await put_all(driver, wanted)
