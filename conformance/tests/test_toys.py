"""The drivers that mutants are made of are right: without its mistake, each would pass."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from tempfile import TemporaryDirectory

import pytest
from limpet.driver import Driver
from limpet_conformance import DriverConformance
from toys.pickled import PickledDriver
from toys.shared_memory import PLACES, SharedMemoryDriver

_PLACES = count()


@pytest.mark.again
class TestSharedMemory(DriverConformance):
    """All but what needs processes, for memory is not shared with them."""

    capabilities = SharedMemoryDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        name = f"toy{next(_PLACES)}"
        yield f"shared-memory://{name}"
        PLACES.pop(name, None)

    def driver(self, url: str) -> Driver:
        return SharedMemoryDriver.from_url(url)


@pytest.mark.again
class TestPickled(DriverConformance):
    """What is shared with processes is tried on a file."""

    capabilities = PickledDriver.capabilities
    factory = "toys.pickled:driver_from_url"
    effort = 0.2

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        with TemporaryDirectory() as folder:
            yield f"pickled://{folder}/data"
