"""The driver on files passes the conformance suite, at either durability."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory

from holdfast_conformance import DriverConformance
from holdfast_drivers.fs import FsDriver


class TestFsDriver(DriverConformance):
    capabilities = FsDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        with TemporaryDirectory() as folder:
            yield f"fs://{folder}/data"


class TestFsDriverWithoutSync(DriverConformance):
    capabilities = replace(FsDriver.capabilities, durable="process")

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        with TemporaryDirectory() as folder:
            yield f"fs://{folder}/data?durability=process"
