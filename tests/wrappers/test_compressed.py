"""Compressed values on the drivers that last: the whole suite, and stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory

import pytest
from limpet import create_persistence
from limpet.driver import Driver
from limpet.opening import driver_from_url
from limpet.records import UserMessage
from limpet.wrappers import Compressed, compressed
from limpet_conformance import DriverConformance
from limpet_drivers.fs import FsDriver
from limpet_drivers.sqlite import SqliteDriver

pytestmark = pytest.mark.again


class PackingSqlite(Compressed):
    capabilities = Compressed(SqliteDriver(":memory:")).capabilities


class PackingFs(Compressed):
    capabilities = Compressed(FsDriver(".")).capabilities


def packing_sqlite(url: str) -> Driver:
    return PackingSqlite(driver_from_url(url), threshold=64)


def packing_fs(url: str) -> Driver:
    return PackingFs(driver_from_url(url), threshold=64)


@pytest.mark.exhaustive
class TestCompressedSqlite(DriverConformance):
    factory = f"{__name__}:packing_sqlite"
    capabilities = PackingSqlite.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        with TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/agent.db"


@pytest.mark.exhaustive
class TestCompressedFs(DriverConformance):
    factory = f"{__name__}:packing_fs"
    capabilities = PackingFs.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        with TemporaryDirectory() as folder:
            yield f"fs://{folder}/agent"


async def test_what_was_stored_at_one_level_is_read_at_another(lasting_url: str) -> None:
    text = "Limpet keeps what an agent must not lose. " * 50
    async with create_persistence(lasting_url, wrappers=[compressed(threshold=64)]) as persistence:
        await persistence.sessions.save_session({"sessionId": "s", "title": text})
        await persistence.sessions.add_message("s", UserMessage(content=text))
    async with create_persistence(lasting_url, wrappers=[compressed(level=19)]) as persistence:
        (message,) = await persistence.sessions.get_messages("s")
        assert isinstance(message, UserMessage)
        assert message.content == text
