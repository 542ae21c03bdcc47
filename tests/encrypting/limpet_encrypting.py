"""`encrypted+sqlite:///...`: any driver, encrypted under a key that everybody knows. For tests, in every process of them."""

from __future__ import annotations

from typing import Self

from limpet.driver import MemoryDriver
from limpet.opening import driver_from_url
from limpet.wrappers import Encrypted

PREFIX = "encrypted+"


class Encrypting(Encrypted):
    capabilities = MemoryDriver.capabilities

    @classmethod
    def from_url(cls, url: str) -> Self:
        return cls(driver_from_url(url.removeprefix(PREFIX)), key=bytes(range(32)))
