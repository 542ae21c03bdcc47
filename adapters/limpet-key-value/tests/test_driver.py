"""What is `KeyValueDriver`'s own, beside the contract: one owner, failures of the store, and compaction."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsFloat

import pytest
from key_value.aio.stores.disk import DiskStore
from key_value.aio.stores.memory import MemoryStore
from key_value.aio.wrappers.base import BaseWrapper
from limpet import (
    ConfigurationError,
    CorruptDataError,
    FormatError,
    OutcomeUnknownError,
    UnavailableError,
    create_persistence,
)
from limpet.driver import Delete, If, Put, Range, key, name, text
from limpet_adapters.key_value import KeyValueDriver, LimpetKeyValue

A, B = key(name("a"), text("1")), key(name("a"), text("2"))


class Failing(BaseWrapper):
    """A store that fails at one of its puts, before or after the value is stored."""

    def __init__(self, at: int, *, is_stored: bool) -> None:
        self.key_value = MemoryStore()
        self.left = at
        self._is_stored = is_stored

    async def put(
        self, key: str, value: Mapping[str, Any], *, collection: str | None = None, ttl: SupportsFloat | None = None
    ) -> None:
        self.left -= 1
        if self.left != 0 or self._is_stored:
            await super().put(key, value, collection=collection, ttl=ttl)
        if self.left == 0:
            raise ConnectionResetError("the network is gone")


async def values(driver: KeyValueDriver) -> dict[str, Any]:
    return {item.key: item.value for item in (await driver.scan(Range("a", limit=1000))).items}


async def test_every_store_of_limpet_works_on_it(tmp_path: Path) -> None:
    for turn in range(2):
        store = DiskStore(directory=tmp_path)
        async with create_persistence(KeyValueDriver(store, durable="process")) as persistence:
            await persistence.sessions.add_message("s", {"subtype": "user", "content": f"turn {turn}"}, create=True)
            assert await persistence.sessions.count_messages("s") == turn + 1
            await LimpetKeyValue(persistence).put(f"k{turn}", {"n": turn})
            assert len(await LimpetKeyValue(persistence).keys()) == turn + 1
        await store.close()


async def test_one_driver_in_a_process_has_a_collection(tmp_path: Path) -> None:
    store = MemoryStore()
    async with KeyValueDriver(store) as driver, KeyValueDriver(store, collection="other") as other:
        with pytest.raises(ConfigurationError, match="share that one"):
            await KeyValueDriver(store).open()
        await driver.apply([Put(A, "1")])
        assert await values(other) == {}
    async with KeyValueDriver(store) as again:
        assert await values(again) == {A: "1"}


async def test_a_driver_that_another_process_took_over_from_writes_no_more(tmp_path: Path) -> None:
    store = DiskStore(directory=tmp_path)
    async with KeyValueDriver(store) as driver:
        await driver.apply([Put(A, "mine")])
        program = (
            "import asyncio, sys\n"
            "from key_value.aio.stores.disk import DiskStore\n"
            "from limpet.driver import Put\n"
            "from limpet_adapters.key_value import KeyValueDriver\n"
            "async def main():\n"
            "    async with KeyValueDriver(DiskStore(directory=sys.argv[1])) as driver:\n"
            "        await driver.apply([Put('a!@2', 'theirs')])\n"
            "asyncio.run(main())\n"
        )
        subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)  # noqa: ASYNC221
        with pytest.raises(ConfigurationError, match="another driver has opened"):
            await driver.apply([Put(A, "again")])
    async with KeyValueDriver(store) as driver:
        assert await values(driver) == {A: "mine", B: "theirs"}
    await store.close()


@pytest.mark.parametrize("is_stored", [False, True])
async def test_after_a_failed_put_nothing_is_written_until_the_driver_is_opened_again(is_stored: bool) -> None:
    store = Failing(3, is_stored=is_stored)  # the manifest, a commit, and the next one
    async with KeyValueDriver(store) as driver:
        await driver.apply([Put(A, "1")])
        with pytest.raises(OutcomeUnknownError):
            await driver.apply([Put(A, "2"), Put(B, "2")])
        with pytest.raises(UnavailableError, match="open another one"):
            await driver.apply([Put(A, "3")])
        assert await values(driver) == {A: "1"}
    async with KeyValueDriver(store) as driver:
        assert await values(driver) == ({A: "2", B: "2"} if is_stored else {A: "1"})
        await driver.apply([Put(A, "3")])


@pytest.mark.parametrize("failing", [None, *range(1, 8)])
@pytest.mark.parametrize("is_stored", [False, True])
async def test_compaction_keeps_everything_wherever_it_is_interrupted(
    failing: int | None, is_stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limpet_adapters.key_value._driver._COMPACT_AFTER", 20)
    monkeypatch.setattr("limpet_adapters.key_value._log._PART_BYTES", 40)
    store = Failing(0 if failing is None else 1 + 20 + failing, is_stored=is_stored)
    known = [key(name("a"), text(f"{n:03d}")) for n in range(8)]
    written: dict[str, Any] = {}
    outcomes: set[str] = set()
    for turn in range(4):
        async with KeyValueDriver(store) as driver:
            for n in range(30):
                at, value = known[n % 8], f"{turn} {n}"
                then = {each: it for each, it in written.items() if each != at} | ({} if n % 5 == 4 else {at: value})
                try:
                    await driver.apply([Delete(at)] if n % 5 == 4 else [Put(at, value)])
                except OutcomeUnknownError:
                    outcomes.add("unknown")
                    written = then if is_stored else written
                    break
                except UnavailableError:  # after a compaction that failed halfway
                    outcomes.add("refused")
                    break
                else:
                    written = then
        async with KeyValueDriver(store) as driver:
            assert await values(driver) == written
    assert outcomes <= {"unknown", "refused"}
    assert len(outcomes) == (failing is not None and failing > 2)  # the first two are parts of the snapshot
    keys = [each for each in await store.key_value.keys(collection="limpet") if each.startswith("commit-")]
    assert len(keys) < 60


async def test_what_is_no_database_is_refused_and_left_as_it_is() -> None:
    for stored, error in (
        ({"format": 2}, FormatError),
        ({"mine": 1}, CorruptDataError),
        ({"format": 1, "epoch": "x", "logs": [], "parts": 1, "side": "a"}, CorruptDataError),
        ({"format": 1, "epoch": "x", "logs": [["y", 1]], "parts": 0, "side": "a"}, CorruptDataError),
        ({"format": 1, "epoch": "x", "logs": [1], "parts": 0, "side": "a"}, CorruptDataError),
    ):
        store = MemoryStore()
        await store.put("manifest", stored, collection="limpet")
        with pytest.raises(error):
            await KeyValueDriver(store).open()
        assert await store.get("manifest", collection="limpet") == stored
    store = MemoryStore()
    async with KeyValueDriver(store) as driver:
        await driver.apply([Put(A, "1", If.ABSENT)])
    (commit,) = [each for each in await store.keys(collection="limpet") if each.startswith("commit-")]
    await store.put(commit, {"records": [[1]]}, collection="limpet")
    with pytest.raises(CorruptDataError):
        await KeyValueDriver(store).open()
    async with KeyValueDriver(store, collection="another") as driver:  # the failed opening holds nothing
        assert await values(driver) == {}
