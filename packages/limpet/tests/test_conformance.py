"""The driver in memory passes the conformance suite."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from limpet.driver import MemoryDriver
from limpet_conformance import DriverConformance


class TestMemoryDriver(DriverConformance):
    capabilities = MemoryDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        yield "memory://"
