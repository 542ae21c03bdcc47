"""The driver on SQLite passes the conformance suite: on disk, relaxed, and in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory

import pytest
from limpet_conformance import DriverConformance
from limpet_drivers.sqlite import SqliteDriver


class TestSqliteDriver(DriverConformance):
    capabilities = SqliteDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        with TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/agent.db"


@pytest.mark.again
class TestSqliteDriverRelaxed(DriverConformance):
    capabilities = replace(SqliteDriver.capabilities, durable="process")

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        with TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/agent.db?durability=relaxed"


@pytest.mark.again
class TestSqliteDriverInMemory(DriverConformance):
    capabilities = replace(SqliteDriver.capabilities, durable="no", shared=False)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        yield "sqlite://"
