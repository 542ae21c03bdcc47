"""The driver on files passes the conformance suite, at either durability."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from limpet_conformance import DriverConformance
from limpet_drivers.fs import FsDriver


class TestFsDriver(DriverConformance):
    capabilities = FsDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        with TemporaryDirectory() as folder:
            yield Path(folder, "data").as_uri().replace("file:", "fs:")


@pytest.mark.again
class TestFsDriverWithoutSync(DriverConformance):
    capabilities = replace(FsDriver.capabilities, durable="process")
    effort = 0.3

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        with TemporaryDirectory() as folder:
            yield Path(folder, "data").as_uri().replace("file:", "fs:") + "?durability=process"
