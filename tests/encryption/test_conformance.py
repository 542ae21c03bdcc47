"""Encrypted drivers that last pass the conformance suite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from limpet.driver import Driver
from limpet.opening import driver_from_url
from limpet.wrappers import Encrypted
from limpet_conformance import DriverConformance
from limpet_conformance.servers import running
from limpet_drivers.fs import FsDriver
from limpet_drivers.postgresql import PostgresqlDriver
from limpet_drivers.redis import RedisDriver
from limpet_drivers.sqlite import SqliteDriver

from ..conftest import empty_place

pytestmark = pytest.mark.again

KEY = bytes(range(32))


class SealedSqlite(Encrypted):
    capabilities = Encrypted(SqliteDriver(":memory:"), key=KEY).capabilities


class SealedFs(Encrypted):
    capabilities = Encrypted(FsDriver("."), key=KEY).capabilities


class SealedPostgresql(Encrypted):
    capabilities = replace(Encrypted(PostgresqlDriver(), key=KEY).capabilities, watch=False)


class SealedRedis(Encrypted):
    capabilities = Encrypted(RedisDriver(), key=KEY).capabilities


def sealed_postgresql(url: str) -> Driver:
    return SealedPostgresql(driver_from_url(url), key=KEY)


def sealed_redis(url: str) -> Driver:
    return SealedRedis(driver_from_url(url), key=KEY)


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


@pytest.mark.exhaustive
class TestEncryptedPostgresql(DriverConformance):
    factory = f"{__name__}:sealed_postgresql"
    capabilities = SealedPostgresql.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        self.note("origin", running("postgresql").origin)
        yield empty_place("postgresql", Path())


@pytest.mark.exhaustive
class TestEncryptedRedis(DriverConformance):
    factory = f"{__name__}:sealed_redis"
    capabilities = SealedRedis.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        self.note("origin", running("redis").origin)
        yield empty_place("redis", Path())
