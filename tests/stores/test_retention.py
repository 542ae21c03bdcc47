"""Retention policies and upkeep, on every driver."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from limpet import ConfigurationError, Persistence, create_persistence
from limpet.driver import MemoryDriver
from limpet.opening import driver_from_url
from limpet.records import UserMessage
from limpet.stores import Retention, RetentionPolicies, RetentionReport, Upkeep
from limpet_conformance.faults import dropped

AGE = timedelta(seconds=0.5)
OLD = Retention(max_age=AGE)
LONG = "x" * 300


async def grow_old() -> None:
    await asyncio.sleep(AGE.total_seconds() + 0.1)


@pytest.mark.parametrize(
    "bad",
    [{}, {"max_age": timedelta(0)}, {"max_age": timedelta(-1)}, {"max_count": 0}, {"max_count": -5}],
    ids=repr,
)
def test_a_policy_that_keeps_all_or_nothing_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Retention(**bad)


async def test_no_policy_removes_nothing(persistence: Persistence) -> None:
    await persistence.kv(int, "n").set("a", 1)
    assert await persistence.prune(RetentionPolicies()) == RetentionReport()
    assert await persistence.kv(int, "n").exists("a")


async def test_records_by_age_and_by_count(persistence: Persistence) -> None:
    store, beside = persistence.kv(int, "n"), persistence.kv(int, "nn")
    for each in (store, beside):
        await each.set_many({f"old{n}": n for n in range(300)})
    await grow_old()
    await store.set("old7", 7)
    await store.set_many({f"new{n}": n for n in range(5)} | {LONG: 1})
    report = await persistence.prune(RetentionPolicies(kv={"n": OLD}))
    assert report == RetentionReport(kv={"n": 299})
    assert sorted(await store.keys()) == sorted(["old7", LONG, *(f"new{n}" for n in range(5))])
    await asyncio.sleep(0.01)
    await store.set_many({"new4": 4, "last": 0})
    both = RetentionPolicies(
        kv={"n": Retention(max_count=2, max_age=timedelta(days=1)), "nn": Retention(max_count=300)}
    )
    assert (await persistence.prune(both)).kv == {"n": 6, "nn": 0}
    assert sorted(await store.keys()) == ["last", "new4"]
    assert len(await beside.keys()) == 300


async def test_a_policy_of_records_leaves_the_state_of_that_namespace(persistence: Persistence) -> None:
    async with persistence.state(dict, "__agent_counter") as state:
        state["count"] = 1
    await persistence.kv(int, "__agent_counter").set("a", 1)
    await asyncio.sleep(0.01)
    policies = RetentionPolicies(kv={"__agent_counter": Retention(max_age=timedelta(milliseconds=1))})
    assert (await persistence.prune(policies)).kv == {"__agent_counter": 1}
    assert await persistence.state(dict, "__agent_counter").get_state() == {"count": 1}


async def say(persistence: Persistence, session: str, times: int = 1) -> None:
    for _ in range(times):
        await persistence.sessions.add_message(session, UserMessage(content="x"), create=True)


async def test_sessions_by_age_of_their_last_message(persistence: Persistence) -> None:
    for session in ("quiet", "talks", LONG):
        await say(persistence, session, 2)
    await persistence.sessions.save_session({"sessionId": "silent"})
    await grow_old()
    await say(persistence, "talks")
    report = await persistence.prune(RetentionPolicies(sessions=OLD))
    assert report == RetentionReport(sessions=3)
    assert [session.session_id for session in await persistence.sessions.find_all_sessions()] == ["talks"]
    assert await persistence.sessions.count_messages("quiet") == 0
    assert await persistence.sessions.count_messages("talks") == 3


async def test_sessions_by_count_keep_the_last_used(persistence: Persistence) -> None:
    for n in range(5):
        await say(persistence, f"s{n}")
        await asyncio.sleep(0.005)
    await say(persistence, "s0")
    report = await persistence.prune(RetentionPolicies(sessions=Retention(max_count=2)))
    assert report.sessions == 3
    assert sorted([session.session_id for session in await persistence.sessions.find_all_sessions()]) == ["s0", "s4"]


async def test_images_and_containers_go_with_what_belongs_to_them(persistence: Persistence) -> None:
    for name in ("old", "used"):
        await persistence.containers.save_container({"containerId": name})
        await persistence.images.save_image({"imageId": name, "containerId": name, "sessionId": name})
        await persistence.sessions.save_session({"sessionId": name, "imageId": name, "containerId": name})
        await say(persistence, name)
    await grow_old()
    await say(persistence, "used")
    report = await persistence.prune(RetentionPolicies(images=OLD))
    assert report == RetentionReport(images=1)
    assert [image.image_id for image in await persistence.images.find_all_images()] == ["used"]
    assert not await persistence.sessions.session_exists("old")
    assert await persistence.sessions.count_messages("used") == 2, "nothing of what is in use was touched"
    report = await persistence.prune(RetentionPolicies(containers=OLD))
    assert report == RetentionReport(containers=1)
    assert [container.container_id for container in await persistence.containers.find_all_containers()] == ["used"]
    await persistence.images.save_image({"imageId": "new", "containerId": "used", "sessionId": "s"})
    assert (await persistence.prune(RetentionPolicies(images=Retention(max_count=1)))).images == 1
    assert [image.image_id for image in await persistence.images.find_all_images()] == ["new"]
    assert not await persistence.sessions.session_exists("used")


async def test_messages_of_each_session(persistence: Persistence) -> None:
    for session, times in (("a", 7), ("b", 2), (LONG, 4)):
        await say(persistence, session, times)
    await persistence.sessions.save_session({"sessionId": "empty"})
    report = await persistence.prune(RetentionPolicies(messages=Retention(max_count=3)))
    assert report == RetentionReport(messages=5)
    assert [message.seq for message in await persistence.sessions.get_messages("a")] == [4, 5, 6]
    assert [message.seq for message in await persistence.sessions.get_messages(LONG)] == [1, 2, 3]
    await grow_old()
    await say(persistence, "a")
    report = await persistence.prune(RetentionPolicies(messages=Retention(max_age=AGE, max_count=3)))
    assert report.messages == 3 + 2 + 3
    assert [message.seq for message in await persistence.sessions.get_messages("a")] == [7]
    assert (await persistence.sessions.add_message("b", UserMessage(content="x"))).seq == 2
    assert (await persistence.prune(RetentionPolicies(messages=OLD))).messages == 0


async def test_a_long_session_with_a_gap_keeps_its_last_messages(persistence: Persistence) -> None:
    log = persistence.sessions._messages.log("s")
    await persistence.sessions.save_session({"sessionId": "s"})
    for start in range(0, 1200, 200):
        await log.append(*(f'{{"subtype":"user","content":"{n}"}}' for n in range(start, start + 200)))
    await log.truncate(799)
    await say(persistence, "s", 3)
    policies = RetentionPolicies(messages=Retention(max_count=700))
    assert (await persistence.prune(policies)).messages == 103
    messages = await persistence.sessions.get_messages("s")
    assert (len(messages), messages[0].seq, messages[-1].seq) == (700, 103, 1202)


async def test_revisions_of_states(persistence: Persistence) -> None:
    a, b = (persistence.state(dict, f"__agent_{name}", history=5) for name in "ab")
    for n in range(4):
        for state in (a, b):
            async with state as held:
                held["n"] = n
    report = await persistence.prune(RetentionPolicies(history=Retention(max_count=3)))
    assert report == RetentionReport(history=2)
    assert [revision.number for revision in await a.history.list()] == [4, 3, 2]
    await grow_old()
    async with a as held:
        held["n"] = "new"
        elsewhere = asyncio.create_task(persistence.prune(RetentionPolicies(history=OLD)))
        assert (await elsewhere).history == 3, "the state that is held is left alone"
    assert [revision.number for revision in await a.history.list()] == [5, 4, 3, 2]
    assert (await persistence.prune(RetentionPolicies(history=OLD))).history == 3
    assert [revision.number for revision in await a.history.list()] == [5]
    assert await b.history.list() == []
    async with b as held:
        held["n"] = "again"
    assert [revision.number for revision in await b.history.list()] == [5], "numbers are never used again"
    assert await b.get_state() == {"n": "again"}


async def test_what_is_written_while_a_pass_runs_stays() -> None:
    async with MemoryDriver() as driver, create_persistence(driver) as persistence:
        store = persistence.kv(int, "n")
        await store.set_many({f"k{n}": n for n in range(20)})
        await say(persistence, "s")
        await grow_old()
        commit, written = driver.commit, driver._commit

        async def others_first(units: Any) -> Any:
            driver.commit = commit  # type: ignore[method-assign]
            await store.set("k3", 33)
            return await commit(units)

        async def message_first(units: Any) -> Any:
            driver._commit = written  # type: ignore[method-assign]
            await say(persistence, "s")
            return await written(units)

        driver.commit = others_first  # type: ignore[method-assign]
        assert (await persistence.prune(RetentionPolicies(kv={"n": OLD}))).kv == {"n": 19}
        assert dict(await store.list()) == {"k3": 33}
        driver._commit = message_first  # type: ignore[method-assign]
        assert (await persistence.prune(RetentionPolicies(sessions=OLD))).sessions == 0
        assert await persistence.sessions.count_messages("s") == 2


async def test_ages_are_judged_by_the_backends_clock() -> None:
    day = 24 * 60 * 60 * 1000
    now = 20_000 * day
    async with MemoryDriver(clock=lambda: now) as driver, create_persistence(driver) as persistence:
        await persistence.kv(int, "n").set("a", 1)
        policies = RetentionPolicies(kv={"n": Retention(max_age=timedelta(days=30))})
        now += 30 * day
        assert (await persistence.prune(policies)).kv == {"n": 0}
        now += 1
        assert (await persistence.prune(policies)).kv == {"n": 1}


# Upkeep.


async def a_pass(*tasks: Upkeep) -> None:
    """Wait until one of them has done a pass."""
    for _ in range(1000):
        if any(upkeep.passes for upkeep in tasks):
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


@pytest.fixture
async def three(url: str) -> AsyncIterator[list[Persistence]]:
    """Three openings of one place; in memory on one driver."""
    target: Any = url
    if "memory:" in url:
        target = driver_from_url(url)
        await target.open()
    openings = [await create_persistence(target) for _ in range(3)]
    yield openings
    for opening in openings:
        await opening.aclose()
    if target is not url:
        await target.close()


async def test_one_process_works_at_a_time(three: list[Persistence]) -> None:
    first = three[0]
    await first.kv(int, "n").set("gone", 1)
    await grow_old()
    await first.kv(int, "n").set("kept", 1)
    policies = RetentionPolicies(kv={"n": OLD})
    tasks = [persistence.upkeep(policies, every=timedelta(minutes=5)) for persistence in three]
    for upkeep in tasks:
        await upkeep.__aenter__()
    await a_pass(*tasks)
    await asyncio.sleep(0.1)
    for upkeep in tasks:
        await upkeep.__aexit__(None, None, None)
    assert sum(upkeep.passes for upkeep in tasks) == 1, "one pass counts for all"
    assert dict(await first.kv(int, "n").list()) == {"kept": 1}


async def test_upkeep_comes_again(three: list[Persistence]) -> None:
    every = timedelta(seconds=0.2)
    async with three[0].upkeep(every=every) as one, three[1].upkeep(every=every) as other:
        await asyncio.sleep(1.2)
    assert 2 <= one.passes + other.passes <= 6


async def test_a_failed_pass_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async with MemoryDriver() as driver, create_persistence(driver) as persistence:
        with dropped(driver, "_fetch", times=3), caplog.at_level(logging.WARNING, "limpet"):
            async with persistence.upkeep(every=timedelta(seconds=0.05)) as upkeep:
                await a_pass(upkeep)
        assert "will be retried" in caplog.text


async def test_a_upkeep_ends_with_its_block_and_leaves_its_lease(three: list[Persistence]) -> None:
    for persistence in three:
        async with persistence.upkeep(every=timedelta(milliseconds=1)) as upkeep:
            await a_pass(upkeep)
    with pytest.raises(ConfigurationError):
        three[0].upkeep(every=timedelta(0))
