"""The file of a backup: an SQLite database with every stored item as it is, compressed."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from .._errors import ConfigurationError, CorruptDataError, FormatError, NotFoundError, UnavailableError
from .._secrets import hide_password
from ..driver import Driver, Key, key, name
from ..opening import check_tls, driver_from_url
from ..stores import Persistence
from ..wrappers import layers, read_only
from ._compression import best_suffix, damage, open_file
from ._database import Database

__all__ = ["LABEL", "Label", "database_file", "is_stored", "pack", "stored_items", "sync_folder", "unpacked"]

LABEL: Key = key(name("moving"), name("backup"))
"""In a backup: what it says about itself."""


class Label(BaseModel):
    """What a backup says about itself."""

    version: Literal[1] = 1
    source: str
    taken_at: datetime
    items: int
    consistent: bool


def is_stored(key: Key) -> bool:
    """Return whether an item is in a backup: everything but probes, and what moving data itself stores."""
    return key.partition("!")[0] not in ("health", "moving")


@asynccontextmanager
async def stored_items(database: Database, *, reading: bool = False) -> AsyncIterator[tuple[Driver, str]]:
    """Yield the innermost driver, which shows what is stored as it is, and what to call it in messages."""
    if isinstance(database, str):
        driver = driver_from_url(database)
        check_tls(driver, None)
        async with read_only()(driver) if reading else driver as found:
            yield found, hide_password(database)
        return
    driver = layers(database.driver if isinstance(database, Persistence) else database)[-1]
    if not driver.is_open:
        raise ConfigurationError(f"this {type(driver).__name__} is not open: open it first, or pass its URL")
    yield driver, type(driver).__name__


@asynccontextmanager
async def database_file(path: Path) -> AsyncIterator[Driver]:
    """Yield the driver of an SQLite file, at an absolute path."""
    url = f"sqlite:///{quote(path.as_posix(), safe='/:')}?durability=relaxed"
    async with driver_from_url(url) as driver:
        yield driver


def pack(copied: Path, into: Path, called: str) -> Path:
    """Compress a closed database into a folder, synced, under a name that is not used yet."""
    try:
        return _packed(copied, into, called)
    except OSError as error:
        raise UnavailableError(f"the backup cannot be written to {into}: {error.strerror}") from error


def _packed(copied: Path, into: Path, called: str) -> Path:
    suffix = f".limpet.db{best_suffix()}"
    packed = copied.with_name(f"packed{suffix}")
    with copied.open("rb") as plain, open_file(packed, "xb") as compressed:
        shutil.copyfileobj(plain, compressed, 1024 * 1024)
    with packed.open("rb+") as written:
        os.fsync(written.fileno())
    path = _unused(into, called, suffix)
    while True:
        try:
            os.link(packed, path)  # never over another backup of the same second
        except FileExistsError:
            path = _unused(into, called, suffix)
            continue
        except OSError:  # a file system without links
            os.replace(packed, path)
        break
    sync_folder(into)
    return path


def _unused(into: Path, called: str, suffix: str) -> Path:
    path, more = into / f"{called}{suffix}", 1
    while path.exists():
        more += 1
        path = into / f"{called}-{more}{suffix}"
    return path


def sync_folder(folder: Path) -> None:
    """Make a rename or a deletion in a folder survive a power failure, where folders can be synced."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@asynccontextmanager
async def unpacked(path: Path) -> AsyncIterator[tuple[Driver, Label]]:
    """Yield a backup as a driver, and its label. Raises `CorruptDataError` if it is damaged or not a backup."""
    with TemporaryDirectory(prefix="limpet-") as temporary:
        plain = Path(temporary) / "backup.db"
        await asyncio.to_thread(_unpack, path, plain)
        async with AsyncExitStack() as stack:
            try:
                driver = await stack.enter_async_context(database_file(plain))
            except FormatError as error:
                raise CorruptDataError(f"{path} is not a backup: {error}") from error
            yield driver, await _label(driver, path)


def _unpack(path: Path, plain: Path) -> None:
    if path.suffix not in (".zst", ".gz", ".db"):
        raise ConfigurationError(f"{path.name} is not called like a backup: its name ends with .limpet.db.zst or .gz")
    try:
        with open_file(path, "rb") as compressed, plain.open("xb") as written:
            shutil.copyfileobj(compressed, written, 1024 * 1024)
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}") from None
    except damage(path) as error:
        raise CorruptDataError(f"{path} is damaged: {error}") from error


async def _label(driver: Driver, path: Path) -> Label:
    (item,) = await driver.get([LABEL])
    if item is None:
        raise CorruptDataError(f"{path} is not a backup: it has no label")
    try:
        return Label.model_validate_json(item.value or "")
    except ValidationError as error:
        raise CorruptDataError(f"{path} has a label that cannot be read") from error
