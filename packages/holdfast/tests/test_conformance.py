"""The driver in memory passes the conformance suite."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from holdfast.driver import MemoryDriver
from holdfast_conformance import DriverConformance


class TestMemoryDriver(DriverConformance):
    capabilities = MemoryDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        yield "memory://"
