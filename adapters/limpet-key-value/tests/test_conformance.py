"""`KeyValueDriver` passes the whole conformance suite, at the level that it declares, on two stores of py-key-value."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from limpet_adapters.key_value import KeyValueDriver
from limpet_conformance import DriverConformance

sys.path.insert(0, str(Path(__file__).parent))  # where the suite, and the processes that it starts, find `drivers`

pytestmark = pytest.mark.filterwarnings("default::ResourceWarning")  # DiskStore leaves its files to the collector


class TestOnMemoryStore(DriverConformance):
    capabilities = replace(KeyValueDriver.capabilities, durable="no")
    factory = "drivers:driver_of"

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        yield "memory-store://"


class TestOnDiskStore(DriverConformance):
    capabilities = replace(KeyValueDriver.capabilities, durable="process")
    factory = "drivers:driver_of"

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        with TemporaryDirectory() as folder:
            yield f"disk://{folder}"
