"""After a loss of power at any moment: nothing acknowledged is lost, no batch is half there, no leftover hurts."""

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from limpet.driver import Append, Check, Delete, MemoryDriver, Put, Range, Unit, counter_key, key, name, text
from limpet_conformance.machinery.file_recorder import (
    FileRecorder,
    Keep,
    contents_only,
    everything,
    names_only,
    nothing,
    some,
)
from limpet_drivers.fs import FsDriver, _client

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no call that syncs a folder")

State: TypeAlias = dict[str, tuple[str | bytes | None, str]]


def at(*texts: str) -> str:
    return key(name("kv"), *(text(part) for part in texts))


def put(*texts: str, value: str | bytes) -> Put:
    return Put(at(*texts), value)


HISTORY: list[Unit] = [
    [put("a", value='{"n":1}'), put("b", value="first")],
    [put("a", value='{"n":2}')],
    [put("b", value=b"\0\1"), put("deep", "er", "still", value="[1,2]"), put("a", "below", value="x")],
    [Delete(at("deep", "er", "still")), put("a", value="no longer JSON")],
    Append(counter_key(at("log")), (put("log", "e", value="one"), put("log", "e", value="two")), Check(at("a"))),
    [Delete(at("a")), Delete(at("b")), put("c", value="3" * 5000)],
    [put("a", value="back"), put("deep", "er", "still", value="again"), put("Capital é", value="{}")],
    Append(counter_key(at("log")), (put("log", "e", value="three"),), Check(at("a"))),
]
CHECKPOINTS = {2, 5}
"""The rounds after which the journal is replaced."""


@pytest.fixture(scope="module")
def states() -> list[State]:
    """What is there before the first round of the history and after each."""
    found: list[State] = _run(_states())
    return found


async def _states() -> list[State]:
    async with MemoryDriver() as model:
        found = [await _state(model)]
        for unit in HISTORY:
            assert not isinstance((await model.commit([unit]))[0], Exception)
            found.append(await _state(model))
        return found


async def _state(driver: MemoryDriver | FsDriver) -> State:
    page = await driver.scan(Range("", limit=1000))
    assert page.next is None
    # The etag of a log's counter is made anew by each driver that assigns the numbers.
    return {item.key: (item.value, "" if item.key == counter_key(at("log")) else item.etag) for item in page.items}


class _WithoutWaiting:
    """The module `os`, but for the waiting: what is found on a disk does not depend on how fast this one is."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, fd: int) -> None:
        os.fstat(fd)

    fdatasync = fsync


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_client, "os", _WithoutWaiting())


def _run(units: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(units)


async def _record(base: Path, recorder: FileRecorder, history: Sequence[Unit], durability: str = "disk") -> None:
    driver = FsDriver(base, durability=durability)
    await driver.open()
    for round_, unit in enumerate(history, 1):
        recorder.mark(f"begun {round_}")
        outcome = (await driver.commit([unit]))[0]
        assert not isinstance(outcome, Exception)
        recorder.mark(f"done {round_}")
        if round_ in CHECKPOINTS:
            await driver._thread.run(driver._checkpoints.finish)
    await driver.close()


def _between(recorder: FileRecorder, moment: int, before: int = 0) -> range:
    """The rounds that may be the last one: no fewer than were acknowledged, no more than were begun."""
    marks = recorder.marks(moment)
    done = [int(mark.split()[1]) for mark in marks if mark.startswith("done")]
    begun = [int(mark.split()[1]) for mark in marks if mark.startswith("begun")]
    return range(max(done, default=before), max(begun, default=before) + 1)


async def _look(base: Path) -> State:
    """What a first opening finds, after a second one found the same, wrote, and left nothing behind."""
    async with FsDriver(base) as driver:
        first = await _state(driver)
    async with FsDriver(base) as driver:
        assert await _state(driver) == first, "a second opening sees something else"
        await driver.apply([put("new", value="writes go on"), Delete(at("c"))])
    async with FsDriver(base) as driver:
        assert {item.value for item in await driver.get([at("new")]) if item} == {"writes go on"}
    hidden = sorted(path.name for path in (base / ".limpet").rglob("*"))
    assert [found for found in hidden if found.startswith("journal")] == ["journal"]
    assert len([found for found in hidden if found.startswith("index")]) <= 1
    assert list((base / ".limpet" / "new").iterdir()) == []
    return first


def _check_every_moment(
    recorder: FileRecorder,
    folder: Path,
    states: list[State],
    keeps: Callable[[int], Sequence[Keep]],
    before: int = 0,
    only: Callable[[int], bool] = lambda moment: True,
) -> int:
    looked = 0
    for moment in filter(only, recorder.moments()):
        for kept, keep in enumerate(keeps(moment)):
            base = folder / f"{moment}-{kept}"
            base.mkdir()
            recorder.replay(moment, base, keep)
            found = _run(_look(base))
            allowed = [states[round_] for round_ in _between(recorder, moment, before)]
            assert found in allowed, f"moment {moment} (after: {recorder.last(moment)}), policy {kept}"
            shutil.rmtree(base)
            looked += 1
    return looked


@pytest.mark.slow
def test_power_lost_after_any_operation(tmp_path: Path, states: list[State]) -> None:
    base = tmp_path / "base"
    base.mkdir()
    recorder = FileRecorder(base)
    with recorder.standing_in(_client):
        _run(_record(base, recorder, HISTORY))
    assert _run(_look_only(base)) == states[-1]
    looked = _check_every_moment(
        recorder,
        tmp_path,
        states,
        lambda moment: (nothing, everything, contents_only, names_only, some(moment), some(-moment)),
    )
    assert looked > 1000
    print(f"{len(recorder.moments())} moments, {looked} disks")


@pytest.mark.slow
def test_power_lost_again_while_recovering(tmp_path: Path, states: list[State]) -> None:
    base = tmp_path / "base"
    base.mkdir()
    recorder = FileRecorder(base)
    with recorder.standing_in(_client):
        _run(_record(base, recorder, HISTORY))
    looked = 0
    for moment in range(40, len(recorder.moments()), 40):
        again = tmp_path / f"again-{moment}"
        again.mkdir()
        recorder.replay(moment, again, names_only)
        second = FileRecorder(again)
        with second.standing_in(_client):
            _run(_look_only(again))
        allowed = _between(recorder, moment)
        folder = tmp_path / f"second-{moment}"
        folder.mkdir()
        for step in second.moments():
            for number, keep in enumerate((nothing, names_only, some(step))):
                target = folder / f"{step}-{number}"
                target.mkdir()
                second.replay(step, target, keep)
                found = _run(_look(target))
                assert found in [states[round_] for round_ in allowed], f"after {second.last(step)}"
                shutil.rmtree(target)
                looked += 1
    assert looked > 100


async def _look_only(base: Path) -> State:
    async with FsDriver(base) as driver:
        return await _state(driver)


def test_the_checks_would_notice(tmp_path: Path, states: list[State]) -> None:
    """The same checks on a driver that does not sync its journal find a loss."""
    base = tmp_path / "base"
    base.mkdir()
    recorder = FileRecorder(base)
    with recorder.standing_in(_client):
        _run(_record(base, recorder, HISTORY, durability="process"))
    with pytest.raises(AssertionError, match="policy 0"):
        _check_every_moment(recorder, tmp_path, states, lambda moment: (nothing,))


def test_batches_are_what_the_history_says(states: list[State]) -> None:
    """The model's states all differ, so that a state which is found names one round."""
    assert all(states[one] != states[other] for one in range(len(states)) for other in range(one))
