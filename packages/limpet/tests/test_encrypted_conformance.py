"""An encrypted driver passes the conformance suite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from limpet.driver import Driver, MemoryDriver
from limpet.wrappers import Encrypted
from limpet_conformance import DriverConformance

pytestmark = pytest.mark.again

KEY = bytes(range(32))


class SealedMemory(Encrypted):
    """An encrypted driver with the capabilities that one has."""

    capabilities = Encrypted(MemoryDriver(), key=KEY).capabilities


def sealed(url: str) -> Driver:
    """What the suite opens."""
    return SealedMemory(MemoryDriver.from_url(url), key=KEY)


class TestEncryptedMemory(DriverConformance):
    factory = f"{__name__}:sealed"
    capabilities = SealedMemory.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        yield "memory://"
