"""Encrypted drivers that last pass the conformance suite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory

import pytest
from limpet.driver import Driver
from limpet.opening import driver_from_url
from limpet.wrappers import Encrypted
from limpet_conformance import DriverConformance
from limpet_drivers.fs import FsDriver
from limpet_drivers.sqlite import SqliteDriver

pytestmark = pytest.mark.again

KEY = bytes(range(32))


class SealedSqlite(Encrypted):
    capabilities = Encrypted(SqliteDriver(":memory:"), key=KEY).capabilities


class SealedFs(Encrypted):
    capabilities = Encrypted(FsDriver("."), key=KEY).capabilities


def sealed_sqlite(url: str) -> Driver:
    return SealedSqlite(driver_from_url(url), key=KEY)


def sealed_fs(url: str) -> Driver:
    return SealedFs(driver_from_url(url), key=KEY)


class TestEncryptedSqlite(DriverConformance):
    factory = f"{__name__}:sealed_sqlite"
    capabilities = SealedSqlite.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        with TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/agent.db"


@pytest.mark.exhaustive
class TestEncryptedFs(DriverConformance):
    factory = f"{__name__}:sealed_fs"
    capabilities = SealedFs.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        with TemporaryDirectory() as folder:
            yield f"fs://{folder}/agent"
