"""The suite on the one database that `run` was given. It is emptied before and after every test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from json import loads

import pytest
from limpet.driver import Capabilities
from limpet.opening import driver_from_url

from limpet_conformance import DriverConformance

__all__ = ["TestDriver"]

pytestmark = pytest.mark.filterwarnings("error")


class TestDriver(DriverConformance):
    """Never imported: `run` passes this file to pytest."""

    capabilities = Capabilities(**loads(os.environ["LIMPET_CONFORMANCE_CAPABILITIES"]))

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        url = os.environ["LIMPET_CONFORMANCE_URL"]
        await _empty(url)
        try:
            yield url
        finally:
            await _empty(url)


async def _empty(url: str) -> None:
    async with driver_from_url(url) as driver:
        await driver.clear("")
        await driver.purge()
