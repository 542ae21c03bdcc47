"""A database is copied to another driver, interrupted or in use, and is the same afterwards."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from limpet import ConfigurationError, NotFoundError, Persistence, create_persistence
from limpet.driver import Driver, Item, Key, MemoryDriver, Page, Put, Range, key, name, text
from limpet.driver.kit import scan_all
from limpet.moving import Progress, copy, follow, verify
from limpet.moving._database import MARKER
from limpet.opening import open_driver
from limpet.wrappers import Wrapper, encrypted
from limpet.wrappers.encryption import new_key

from ..conftest import EMBEDDED, ENCRYPTED, SERVERS, STOOD_FOR, empty_place, not_on_a_stand_in
from ..formats import place

SCHEMES = (*EMBEDDED, *SERVERS, *ENCRYPTED)


def _pairs() -> list[object]:
    """Every driver to SQLite and back in each run, the servers among each other with all the rest."""
    pairs: list[object] = []
    for one in SCHEMES:
        for two in SCHEMES:
            marks = []
            if not {one, two} <= set(EMBEDDED):
                marks.append(pytest.mark.again)
            if "sqlite" not in (one, two) or {one, two} & STOOD_FOR:
                marks.append(pytest.mark.exhaustive)
            pairs.append(pytest.param(one, two, marks=marks, id=f"{one}-{two}"))
    return pairs


@pytest.mark.parametrize(("one", "two"), _pairs())
@pytest.mark.usefixtures("_schemes")
async def test_everything_arrives_and_goes_on(
    one: str, two: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for scheme in (one, two):
        not_on_a_stand_in(request, scheme)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    source, target = empty_place(one, tmp_path / "one"), empty_place(two, tmp_path / "two")
    async with create_persistence(source) as here, create_persistence(target) as there:
        await place.fill(here)
        await here.kv(str, "passing").set("soon", "gone", ttl=1000)
        report = await copy(here, there)
        assert (report.exact, report.resumed, report.deleted) == (True, False, 0)
        compared = await verify(here, there)
        assert compared.equal, compared
        await place.check_contents(there)
        (left,) = await there.driver.get([there.kv(str, "passing").at("soon")])
        assert left is not None
        assert 900_000 < (left.ttl_ms or 0) <= 1_000_000
        added = await there.sessions.add_message("s1", {"subtype": "user", "content": "Go on"})
        assert added.seq == len(place.MESSAGES)
        async with await there.approvals.claim("a1", by="bob", decision="reject"):
            pass
        (job,) = await there.work("mail", lease=60, max_attempts=1).claim()
        assert job.value == {"to": "cy"}
        assert not (await verify(here, there)).equal


async def _fill(persistence: Persistence, records: int) -> None:
    store = persistence.kv(dict, "many")
    for start in range(0, records, 250):
        await store.set_many({f"k{n}": {"n": n, "text": "x" * 200} for n in range(start, start + 250)})


@pytest.mark.parametrize(
    ("one", "two"),
    [
        pytest.param("sqlite", "fs", id="sqlite-fs"),
        pytest.param("fs", "sqlite", id="fs-sqlite", marks=pytest.mark.again),
        pytest.param("sqlite", "postgresql", id="sqlite-postgresql", marks=pytest.mark.again),
        pytest.param("redis", "mysql", id="redis-mysql", marks=pytest.mark.again),
        pytest.param("encrypted+sqlite", "redis", id="encrypted+sqlite-redis", marks=pytest.mark.again),
    ],
)
@pytest.mark.usefixtures("_schemes")
async def test_a_killed_copy_continues(one: str, two: str, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    source, target = empty_place(one, tmp_path / "one"), empty_place(two, tmp_path / "two")
    async with create_persistence(source) as here:
        await place.fill(here)
        await _fill(here, 5000)
    chance = random.Random(7)
    command = [sys.executable, str(Path(__file__).with_name("copier.py")), source, target]
    kills = 0
    while True:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - nothing else runs here
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 4)):  # so many pages are stored, then it is killed
            process.stdout.readline()
        if kills < 3 and process.poll() is None:
            process.send_signal(signal.SIGKILL)
        status = process.wait()
        process.stdout.close()
        if not status:
            break
        assert status == -signal.SIGKILL
        kills += 1
    assert kills
    async with create_persistence(source) as here, create_persistence(target) as there:
        assert (await verify(here, there)).equal
        await place.check_contents(there)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        pytest.param("sqlite", "fs", id="sqlite-fs"),
        pytest.param("sqlite", "postgresql", id="sqlite-postgresql", marks=pytest.mark.again),
        pytest.param("redis", "mysql", id="redis-mysql", marks=pytest.mark.again),
        pytest.param("postgresql", "encrypted+sqlite", id="postgresql-encrypted+sqlite", marks=pytest.mark.again),
    ],
)
@pytest.mark.usefixtures("_schemes")
async def test_nothing_acknowledged_is_missing_after_a_switch(one: str, two: str, tmp_path: Path) -> None:
    """Eight processes write, and delete, while the copy follows; they end, and the last look begins after that."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    source, target = empty_place(one, tmp_path / "one"), empty_place(two, tmp_path / "two")
    async with create_persistence(source) as here:
        await here.sessions.save_session({"sessionId": "shared", "imageId": "i", "createdAt": 1, "updatedAt": 1})
        await _fill(here, 1000)
    writer = str(Path(__file__).with_name("writer.py"))

    def start(numbers: range) -> list[subprocess.Popen[str]]:
        command = [sys.executable, writer, source]
        return [subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, text=True) for n in numbers]

    until, caught_up = asyncio.Event(), asyncio.Event()

    def show(step: Progress) -> None:
        if step.phase == "following":
            caught_up.set()

    writers = start(range(4))
    following = asyncio.create_task(follow(source, target, until=until, interval=0.1, progress=show))
    await caught_up.wait()
    writers += start(range(4, 8))
    printed = await asyncio.gather(*(asyncio.to_thread(each.communicate) for each in writers))
    acknowledged = "".join(output for output, _ in printed)
    assert [each.returncode for each in writers] == [0] * 8
    until.set()
    report = await following
    assert report.exact
    ids = set(acknowledged.split())
    assert len(ids) == 8 * 25
    async with create_persistence(source) as here, create_persistence(target) as there:
        assert (await verify(here, there)).equal
        messages = await there.sessions.get_messages("shared")
        assert {message.id for message in messages} == ids
        assert [message.seq for message in messages] == list(range(len(messages)))
        store = there.kv(dict, "many")
        assert [await store.exists(f"k{n}") for n in range(16)] == [False] * 8 + [True] * 8


async def _databases(tmp_path: Path) -> tuple[str, str]:
    source, target = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"
    async with create_persistence(source) as persistence:
        await persistence.kv(int, "n").set("one", 1)
        await persistence.kv(int, "n").set("two", 2)
    return source, target


async def test_a_target_with_data_is_left_alone(tmp_path: Path) -> None:
    source, target = await _databases(tmp_path)
    async with create_persistence(target) as persistence:
        await persistence.kv(int, "mine").set("x", 1)
    with pytest.raises(ConfigurationError, match="not empty"):
        await copy(source, target)
    async with create_persistence(target) as persistence:
        assert await persistence.kv(int, "n").get("one") is None
        assert await persistence.driver.get([MARKER]) == [None]
    assert (await copy(source, target, replace=True)).exact
    assert (await verify(source, target)).equal


async def test_a_complete_copy_is_made_equal_again_only_when_asked(tmp_path: Path) -> None:
    source, target = await _databases(tmp_path)
    await copy(source, target)
    async with create_persistence(target) as persistence:
        await persistence.kv(int, "mine").set("x", 1)
    async with create_persistence(source) as persistence:
        await persistence.kv(int, "n").set("two", 22)
        await persistence.kv(int, "n").delete("one")
    with pytest.raises(ConfigurationError, match="complete copy"):
        await copy(source, target)
    report = await copy(source, target, again=True)
    assert (report.copied, report.deleted, report.exact) == (1, 2, True)
    assert (await verify(source, target)).equal


async def test_what_is_not_a_pair_is_refused(tmp_path: Path) -> None:
    source, target = await _databases(tmp_path)
    with pytest.raises(ConfigurationError, match="same database"):
        await copy(source, source)
    with pytest.raises(NotFoundError, match="never written"):
        await copy(target, f"sqlite:///{tmp_path}/c.db")
    assert not (tmp_path / "c.db").exists()
    with pytest.raises(ConfigurationError, match="not a database"):
        await copy(5, target)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="not open"):
        await copy(MemoryDriver(), target)
    with pytest.raises(ConfigurationError, match="interval"):
        await follow(source, target, until=asyncio.Event(), interval=0)


async def test_an_unfinished_copy_is_continued_by_its_own_source_only(tmp_path: Path) -> None:
    source, target = await _databases(tmp_path)
    async with create_persistence(source) as here, create_persistence(target) as there:
        stopping = await open_driver(_StopsAfter(there.driver, 2))
        with pytest.raises(RuntimeError, match="stopped"):
            await copy(here, stopping)
    with pytest.raises(ConfigurationError, match="itself an unfinished copy"):
        await copy(target, f"sqlite:///{tmp_path}/c.db")
    other = f"sqlite:///{tmp_path}/d.db"
    async with create_persistence(other) as persistence:
        await persistence.kv(int, "n").set("three", 3)
    with pytest.raises(ConfigurationError, match=r"not empty|another copy"):
        await copy(other, target)
    assert (await copy(source, target)).resumed
    assert (await verify(source, target)).equal


class _StopsAfter(Wrapper):
    def __init__(self, inner: Driver, commits: int) -> None:
        super().__init__(inner)
        self.left = commits

    async def close(self) -> None:
        """Whose driver it is closes it."""

    async def commit(self, units):  # type: ignore[no-untyped-def]
        if not self.left:
            raise RuntimeError("stopped")
        self.left -= 1
        return await self.inner.commit(units)


async def test_keys_may_differ_on_both_sides(tmp_path: Path) -> None:
    """From one key to another: text in keys is digested anew, and everything is found by its own name."""
    source, target = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"
    async with (
        create_persistence(source, wrappers=[encrypted(key=new_key())]) as here,
        create_persistence(target, wrappers=[encrypted(key=new_key())]) as there,
    ):
        await place.fill(here)
        assert (await copy(here, there)).exact
        await place.check_contents(there)
        assert (await verify(here, there)).equal


async def test_damage_is_named_and_the_rest_is_copied(tmp_path: Path) -> None:
    source, target = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"
    secret = new_key()
    async with create_persistence(source, wrappers=[encrypted(key=secret)]) as here:
        for n in range(20):
            await here.kv(int, "n").set(f"k{n}", n)
        (kept,) = [item async for item in scan_all(here.driver, "kv") if item.key.endswith("@k7")]
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("UPDATE items SET value = CAST(value || x'00' AS BLOB) WHERE etag = ?", (kept.etag,))
    database.close()
    async with (
        create_persistence(source, wrappers=[encrypted(key=secret)]) as here,
        create_persistence(target) as there,
    ):
        report = await copy(here, there)
        assert not report.exact
        assert len(report.damaged) == 1
        compared = await verify(here, there)
        assert compared.differences == 1
        assert compared.damaged.keys() == report.damaged.keys()
        values = set(await there.kv(int, "n").keys(limit=100))
        assert values == {f"k{n}" for n in range(20)} - {"k7"}


async def test_differences_are_named() -> None:
    one, two = await open_driver(MemoryDriver()), await open_driver(MemoryDriver())
    a, b, c, d = (key(name("x"), text(each)) for each in "abcd")
    await one.apply([Put(a, "1"), Put(b, "2"), Put(d, "4", ttl_ms=60_000)])
    await two.apply([Put(b, b"2"), Put(c, "3"), Put(d, "4")])
    found = await verify(one, two)
    assert (found.missing, found.extra, found.different, found.differences) == ([a], [c], [b, d], 4)
    assert found.first["x"].items == found.second["x"].items == 3
    assert found.first["x"].digest != found.second["x"].digest
    assert (await verify(one, two, limit=0)).differences == 4
    assert (await verify(one, one)).equal
    await one.close()
    await two.close()


class _Restless(MemoryDriver):
    """Changes before each page that somebody reads, as long as it is told to."""

    changing = True

    async def scan(self, range: Range) -> Page:
        if self.changing:
            await self.apply([Put(key(name("x"), text("a")), "changed")])
        return await super().scan(range)


async def test_a_copy_is_complete_only_when_it_is_equal() -> None:
    driver = _Restless()
    one, two = await open_driver(driver), await open_driver(MemoryDriver())
    assert not (await copy(one, two)).exact
    driver.changing = False
    again = await copy(one, two)  # continues: no again=True is needed
    assert (again.exact, again.resumed) == (True, True)
    with pytest.raises(ConfigurationError, match="complete copy"):
        await copy(one, two)
    await one.close()
    await two.close()


class _Counting(Wrapper):
    def __init__(self, inner: Driver) -> None:
        super().__init__(inner)
        self.calls: dict[str, int] = {}

    async def get(self, keys, *, values=True):  # type: ignore[no-untyped-def]
        self.calls["get"] = self.calls.get("get", 0) + 1
        return await self.inner.get(keys, values=values)

    async def commit(self, units):  # type: ignore[no-untyped-def]
        self.calls["commit"] = self.calls.get("commit", 0) + 1
        return await self.inner.commit(units)

    async def scan(self, range):  # type: ignore[no-untyped-def]
        self.calls["scan"] = self.calls.get("scan", 0) + 1
        return await self.inner.scan(range)


async def test_calls_grow_with_pages_and_not_with_items() -> None:
    async def calls(records: int) -> tuple[int, int]:
        source, target = MemoryDriver(), MemoryDriver()
        counted = [_Counting(source), _Counting(target)]
        one, two = [await open_driver(each, batching=False) for each in counted]
        await one.apply([Put(key(name("x"), text(str(n))), "v") for n in range(500)])
        for start in range(500, records, 500):
            await one.apply([Put(key(name("x"), text(str(n))), "v") for n in range(start, start + 500)])
        for each in counted:
            each.calls.clear()
        await copy(one, two)
        await one.close()
        await two.close()
        return sum(counted[0].calls.values()), sum(counted[1].calls.values())

    few, many = await calls(500), await calls(5000)
    assert few[0] <= 8
    assert few[1] <= 12
    assert many[0] - few[0] <= 10 * 2 + 5 * 3  # a page of 1,000 and its comparison
    assert many[1] - few[1] <= 5 * (1 + 1 + 2 + 1)


async def test_items_of_the_database_itself_stay_where_they_are() -> None:
    one, two = await open_driver(MemoryDriver()), await open_driver(MemoryDriver())
    manifest = (await two.get(["manifest"]))[0]
    await one.apply([Put(key(name("health"), text("probe")), "")])
    await copy(one, two)
    assert (await two.get(["manifest"]))[0] == manifest
    keys: list[Key] = [item.key for item in (await two.scan(Range())).items]
    assert keys == ["manifest", MARKER]
    await one.close()
    await two.close()


def _same(one: Item | None, two: Item | None) -> bool:
    return one is not None and two is not None and (one.value, one.etag) == (two.value, two.etag)


async def test_etags_stay_the_same(tmp_path: Path) -> None:
    source, target = await _databases(tmp_path)
    await copy(source, target)
    async with create_persistence(source) as here, create_persistence(target) as there:
        async for item in scan_all(here.driver, "kv"):
            (copied,) = await there.driver.get([item.key])
            assert _same(item, copied)
