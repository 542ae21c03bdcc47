"""Exports: conversations as records that people and other programs can read, or everything as it is stored."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias, get_args
from uuid import uuid4

from .._errors import ConfigurationError
from .._json import Unreadable
from .._secrets import hide_password
from ..driver import Range
from ..driver.kit import scan_pages
from ..stores import Persistence
from ..structures import content_driver, scan_each
from ._backup_file import sync_folder
from ._choices import What
from ._clock import Clock
from ._compression import open_file
from ._conversations import sessions, threads
from ._database import Database, moves, opened_stores
from ._items import as_record
from ._lines import LineWriter
from ._people import CsvWriter, MarkdownWriter
from ._progress import OnProgress, Progress

__all__ = ["ExportReport", "export", "export_records"]

_PAGE = 100


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did."""

    records: int
    damaged: dict[str, str]
    """What could not be read, by key or id, and why. It is not in the file."""


Records: TypeAlias = Callable[[Persistence, dict[str, str]], AsyncIterator[list[dict[str, Any]]]]
"""Yields pages of records of a database, and notes in the dict what could not be read."""


class _Writer(Protocol):
    def write(self, record: dict[str, Any], /) -> None: ...

    def close(self) -> None: ...


async def export(
    database: Database,
    file: str | os.PathLike[str],
    *,
    what: What = "all",
    ids: Sequence[str] = (),
    user_id: str | None = None,
    replace: bool = False,
    progress: OnProgress = None,
) -> ExportReport:
    """Write what is in a database to a file, and return how much that was.

    The name of the file says its form: `.jsonl` is one record a line, which `import_file` reads; `.md` and `.csv` are
    conversations for people, and need `what="threads"` or `"sessions"`. With `.gz` or `.zst` after that, it is compressed. The file
    appears under its name when it is complete. An existing file is an error, unless `replace`.

    `ids` selects threads or sessions, `user_id` the threads of one user. Constant memory. Each page is a snapshot, the
    whole is not: stop writers first, or use `backup`. Raises `NotFoundError` for an id that does not exist.
    """
    path = Path(file)
    if what not in get_args(What):
        raise ConfigurationError(f"what is {what!r}: use one of {', '.join(get_args(What))}")
    if (ids and what == "all") or (user_id is not None and what != "threads"):
        raise ConfigurationError("ids select threads or sessions, and user_id threads: choose what=")
    form = _form(path)
    if form != ".jsonl" and what == "all":
        raise ConfigurationError(
            f"{path.name} is for people, and shows conversations: choose what='threads' or 'sessions'"
        )
    return await export_records(
        database,
        path,
        lambda persistence, damaged: _records(persistence, what, ids, user_id, damaged),
        what=what,
        replace=replace,
        progress=progress,
    )


async def export_records(
    database: Database, path: Path, records: Records, *, what: str, replace: bool, progress: OnProgress
) -> ExportReport:
    """Write the pages of records that a function yields to a file of the form that its name says."""
    form = _form(path)
    damaged: dict[str, str] = {}
    async with new_file(path, replace) as written, opened_stores(database) as persistence:
        source = hide_password(database) if isinstance(database, str) else type(persistence.driver).__name__
        writer = _writer(written, form, what, source)
        count = 0
        async for page in records(persistence, damaged):
            await asyncio.to_thread(_write, writer, page)
            count += len(page)
            if progress is not None:
                progress(Progress("exporting", count))
        await asyncio.to_thread(writer.close)
    return ExportReport(count, dict(sorted(damaged.items())))


def _records(
    persistence: Persistence, what: What, ids: Sequence[str], user_id: str | None, damaged: dict[str, str]
) -> AsyncIterator[list[dict[str, Any]]]:
    if what == "threads":
        return threads(persistence, ids, user_id, damaged)
    if what == "sessions":
        return sessions(persistence, ids, damaged)
    return _items(persistence, damaged)


async def _items(persistence: Persistence, damaged: dict[str, str]) -> AsyncIterator[list[dict[str, Any]]]:
    driver = content_driver(persistence.driver)
    scan = partial(scan_each, driver)
    clock = await Clock.of(driver)
    async for page in scan_pages(scan, Range(limit=_PAGE)):
        records: list[dict[str, Any]] = []
        for item in page.items:
            if isinstance(item.value, Unreadable):
                damaged[item.key] = str(item.value.error)
            elif moves(item.key):
                records.append(as_record(item, clock.now()))
        yield records


def _writer(file: IO[bytes], form: str, what: str, source: str) -> _Writer:
    if form == ".jsonl":
        return LineWriter(file, what=what, source=source)
    return MarkdownWriter(file) if form == ".md" else CsvWriter(file)


def _write(writer: _Writer, page: Sequence[dict[str, Any]]) -> None:
    for record in page:
        writer.write(record)


def _form(path: Path) -> str:
    form = Path(path.stem).suffix if path.suffix in (".gz", ".zst") else path.suffix
    if form not in (".jsonl", ".md", ".csv"):
        raise ConfigurationError(
            f"{path.name} does not say its form: call it .jsonl, .md or .csv, and add .gz or .zst to compress it"
        )
    return form


@asynccontextmanager
async def new_file(path: Path, replace: bool) -> AsyncIterator[IO[bytes]]:
    """Yield a file that appears under its name, synced, when the block ends without an error."""
    if not replace and await asyncio.to_thread(path.exists):
        raise ConfigurationError(f"{path} already exists: choose another name, or pass replace=True (--replace)")
    part = path.with_name(f".{path.stem}-{uuid4().hex[:8]}{path.suffix}")
    try:
        file = await asyncio.to_thread(open_file, part, "xb")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
    try:
        try:
            yield file
        finally:
            await asyncio.to_thread(file.close)
        await asyncio.to_thread(_publish, part, path)
    finally:
        await asyncio.to_thread(part.unlink, missing_ok=True)


def _publish(part: Path, path: Path) -> None:
    with part.open("rb+") as written:
        os.fsync(written.fileno())
    os.replace(part, path)
    sync_folder(path.parent)
