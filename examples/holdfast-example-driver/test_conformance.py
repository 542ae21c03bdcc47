"""The driver passes the whole conformance suite, through its entry point, as applications reach it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory

from holdfast_conformance import DriverConformance
from holdfast_lmdb import LmdbDriver


class TestLmdbDriver(DriverConformance):
    capabilities = LmdbDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        with TemporaryDirectory() as folder:
            yield f"lmdb://{folder}/data?map_gib=1"
