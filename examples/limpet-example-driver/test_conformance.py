"""The driver passes the whole conformance suite, through its entry point, as applications reach it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from os import urandom
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from limpet import ConfigurationError, CorruptDataError, UnavailableError, create_storage
from limpet_conformance import DriverConformance
from limpet_lmdb import LmdbDriver


class TestLmdbDriver(DriverConformance):
    capabilities = LmdbDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        with TemporaryDirectory() as folder:
            yield f"lmdb://{folder}/data?map_gib=1"


async def test_a_file_of_somebody_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"mine" * 4096)
    with pytest.raises(CorruptDataError):
        await create_storage(f"lmdb://{tmp_path}")
    assert (tmp_path / "data.mdb").read_bytes() == b"mine" * 4096


async def test_a_place_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="No such file"):
        await create_storage(f"lmdb://{tmp_path}/missing/data")
    with pytest.raises(ConfigurationError, match="names no folder"):
        await create_storage("lmdb://")


async def test_a_full_place_refuses_and_still_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = LmdbDriver(tmp_path / "data")
    monkeypatch.setattr(driver, "_map_size", 1024**2)
    async with driver, create_storage(driver) as storage:
        await storage.set_item("small", 1)
        with pytest.raises(UnavailableError, match="map_gib"):
            await storage.set_item("large", urandom(2 * 1024**2).hex())
        assert (await storage.get_item("small"), await storage.get_item("large")) == (1, None)
