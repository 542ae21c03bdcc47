"""The n-th call of a driver fails: whoever is told that nothing was written can rely on it, in every store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from limpet import (
    ConflictError,
    LimpetError,
    NotFoundError,
    OutcomeUnknownError,
    Persistence,
    ReadOnlyError,
    Storage,
    UnavailableError,
    create_persistence,
    create_storage,
)
from limpet.driver import Append, Check, Item, Key, MemoryDriver, Outcome, Page, Put, Range, Unit, key, name, text
from limpet.driver.kit import scan_all
from limpet.stores import Retention, RetentionPolicies
from limpet.structures.blobs._chunks import CHUNK, OWNERS, PARTS

LONG = "x" * 1_200_000
"""So long that it lies in chunks."""


class Faulty(MemoryDriver):
    """Fails once, after a number of calls: before the call reaches anything."""

    left = -1

    def _count(self) -> None:
        if self.left == 0:
            self.left = -1
            raise UnavailableError("the backend went away before this call")
        if self.left > 0:
            self.left -= 1

    async def _fetch(self, keys: Sequence[Key], values: bool) -> list[Item | None]:
        self._count()
        return await super()._fetch(keys, values)

    async def _commit(self, units: Sequence[Unit]) -> list[Outcome]:
        self._count()
        return await super()._commit(units)

    async def _list(self, range: Range) -> Page:
        self._count()
        return await super()._list(range)


def kv(persistence: Persistence) -> Any:
    return persistence.kv(dict, "n")


def state(persistence: Persistence) -> Any:
    return persistence.state(dict, "agent", factory=dict, history=2)


async def change_state(persistence: Persistence) -> None:
    async with state(persistence) as held:
        held["n"] = held.get("n", 0) + 1


async def complete_job(persistence: Persistence) -> None:
    for job in await persistence.work("q").claim():
        await job.complete()


async def decide(persistence: Persistence) -> None:
    claim = await persistence.approvals.claim("a", by="ada", decision="approve")
    await claim.complete()


IDLE = Retention(max_age=timedelta(milliseconds=1))

CALLS: dict[str, Callable[[Persistence], Awaitable[object]]] = {
    "save_container": lambda p: p.containers.save_container({"containerId": "new"}),
    "delete_container": lambda p: p.containers.delete_container("c"),
    "save_image": lambda p: p.images.save_image({"imageId": "new", "containerId": "c", "sessionId": "s"}),
    "image fork": lambda p: p.images.fork("i"),
    "update_metadata": lambda p: p.images.update_metadata("i", {"a": 1}),
    "delete_image": lambda p: p.images.delete_image("i"),
    "save_session": lambda p: p.sessions.save_session({"sessionId": "new"}),
    "add_message": lambda p: p.sessions.add_message("s", {"subtype": "user", "content": "m"}),
    "add_message once": lambda p: p.sessions.add_message(
        "s", {"subtype": "user", "content": "m", "id": "1"}, unique=True
    ),
    "add a long message": lambda p: p.sessions.add_message("s", {"subtype": "user", "content": LONG}),
    "truncate": lambda p: p.sessions.truncate_after_message("s", 0),
    "clear_messages": lambda p: p.sessions.clear_messages("s"),
    "session fork": lambda p: p.sessions.fork("s"),
    "delete_session": lambda p: p.sessions.delete_session("s"),
    "thread create": lambda p: p.threads.create(user_id="u", agent_name="a"),
    "thread update": lambda p: p.threads.update("t", title="new"),
    "thread fork": lambda p: p.threads.fork("t"),
    "thread delete": lambda p: p.threads.delete("t"),
    "thread add_message": lambda p: p.threads.add_message("t", "user", "m"),
    "thread add_messages": lambda p: p.threads.add_messages(
        "t", [{"role": "user", "content": LONG + w} for w in "abc"]
    ),
    "update_message": lambda p: p.threads.update_message("t", 0, content="changed"),
    "delete_message": lambda p: p.threads.delete_message("t", 1),
    "feedback": lambda p: p.feedback.create("t", rating=1),
    "approval": lambda p: p.approvals.create(thread_id="t", agent_name="a", node_name="n", state=LONG),
    "approval decided": decide,
    "approval delete": lambda p: p.approvals.delete("a"),
    "checkpoint": lambda p: p.checkpoints.put("t", {"a": LONG, "b": 1}),
    "checkpoint writes": lambda p: p.checkpoints.put_writes("t", "c", "task", [("channel", LONG)]),
    "checkpoint again": lambda p: p.checkpoints.put("t", {"a": LONG}, id="1", metadata={"run_id": "r"}),
    "checkpoint of channels": lambda p: p.checkpoints.put("t", {}, channels={"c": [LONG] * 3}, versions={"c": 1}),
    "checkpoint delete some": lambda p: p.checkpoints.delete("t", ids=["0", "1"]),
    "checkpoint threads prune": lambda p: p.prune(RetentionPolicies(checkpoint_threads=IDLE)),
    "checkpoint copy": lambda p: p.checkpoints.copy("t", "other"),
    "checkpoint prune": lambda p: p.checkpoints.prune("t", max_count=1),
    "checkpoint delete": lambda p: p.checkpoints.delete("t"),
    "kv set": lambda p: kv(p).set("k", {"n": 2}),
    "kv set long": lambda p: kv(p).set("k", {"n": LONG}),
    "kv update": lambda p: kv(p).update("k", lambda value: {"n": value["n"] + 1}),
    "kv delete": lambda p: kv(p).delete("k"),
    "kv clear": lambda p: kv(p).clear(),
    "state": change_state,
    "clear_state": lambda p: state(p).clear_state(),
    "publish": lambda p: p.events(prune_interval=None).publish("ch", 1),
    "publish long": lambda p: p.events(prune_interval=None).publish("ch", LONG),
    "ack": lambda p: p.events(prune_interval=None).ack("w", "old", "0" * 16),
    "events prune": lambda p: p.events(retention=timedelta(milliseconds=1), prune_interval=None).prune(),
    "put a job": lambda p: p.work("new").put(1),
    "put a long job": lambda p: p.work("new").put(LONG),
    "complete a job": complete_job,
    "blob": lambda p: p.blobs.create(b"z" * 1_500_000, id="new"),
    "blob delete": lambda p: p.blobs.delete("b"),
}

SEVERAL = {
    *(
        "delete_container",
        "delete_image",
        "checkpoint copy",
        "checkpoint prune",
        "checkpoint threads prune",
        "kv clear",
        "events prune",
    ),
    *("approval decided", "complete a job"),
}
"""Several batches, one after the other: what these have done stands, and calling again goes on."""


async def prepared(persistence: Persistence) -> None:
    await persistence.containers.save_container({"containerId": "c"})
    await persistence.images.save_image({"imageId": "i", "containerId": "c", "sessionId": "s", "name": "n"})
    await persistence.sessions.save_session({"sessionId": "s", "imageId": "i", "containerId": "c"})
    await persistence.threads.create(id="t", user_id="u", agent_name="a")
    for n in range(3):
        await persistence.sessions.add_message("s", {"subtype": "user", "content": str(n)})
        await persistence.threads.add_message("t", "user", str(n))
        await persistence.checkpoints.put("t", {"n": n}, id=str(n))
    await persistence.approvals.create(thread_id="t", agent_name="a", node_name="n", state=1, id="a")
    await persistence.blobs.create(b"y" * 700_000, id="b")
    await kv(persistence).set("k", {"n": 1})
    await change_state(persistence)
    await persistence.events(prune_interval=None).publish("old", 1)
    await persistence.work("q").put("job")


async def shown(driver: MemoryDriver) -> dict[Key, object]:
    """What anybody can see: without what only waits to be freed, or was stored for something that never came."""
    hidden = {CHUNK, OWNERS, PARTS, name("once"), name("manifest"), name("garbage")}
    found = {item.key: item.value async for item in scan_all(driver, "")}
    return {at: value for at, value in found.items() if at.split("!")[0] not in hidden and not _is_made_ahead(at)}


def _is_made_ahead(at: Key) -> bool:
    """Channels, queues and threads of checkpoints may be there before anything is in them; so may parts, and leases."""
    first, *rest = at.split("!")
    if first in ("events", "events.channels", "work", "work.queues", "work.groups"):
        return "e" not in rest
    if first in ("checkpoints", "checkpoints.threads"):
        return first == "checkpoints.threads" or rest[1] == "p"
    return first in ("lease", "history") or "fence" in rest or "lease" in rest


@pytest.mark.parametrize("call", [call for call in CALLS if call not in SEVERAL])
async def test_nothing_was_written_is_said_only_where_that_is_so(call: str) -> None:
    failed = 0
    for n in range(80):
        async with Faulty() as driver, create_persistence(driver) as persistence:
            await prepared(persistence)
            before = await shown(driver)
            driver.left = n
            try:
                await CALLS[call](persistence)
            except UnavailableError:
                failed += 1
                driver.left = -1
                assert await shown(driver) == before, f"call {n + 1} failed, and it was written all the same"
            except OutcomeUnknownError:
                failed += 1
            reached, driver.left = driver.left < 0, -1
        if not reached:
            break
    else:
        pytest.fail("it never came to an end")
    assert failed or n


@pytest.mark.parametrize("call", sorted(SEVERAL))
async def test_what_takes_several_batches_goes_on_when_called_again(call: str) -> None:
    for n in range(120):
        async with Faulty() as driver, create_persistence(driver) as persistence:
            await prepared(persistence)
            driver.left = n
            try:
                await CALLS[call](persistence)
            except LimpetError:
                driver.left = -1
                with suppress(ConflictError, NotFoundError):  # done already
                    await CALLS[call](persistence)
            reached, driver.left = driver.left < 0, -1
        if not reached:
            return
    pytest.fail("it never came to an end")


PLAIN: dict[str, Callable[[Storage], Awaitable[object]]] = {
    "set_item": lambda storage: storage.set_item("k", 2),
    "set a long item": lambda storage: storage.set_item("k", LONG),
    "set_meta": lambda storage: storage.set_meta("k", {"a": 1}),
    "remove_item": lambda storage: storage.remove_item("k"),
}


@pytest.mark.parametrize("call", PLAIN)
async def test_plain_items(call: str) -> None:
    for n in range(12):
        async with Faulty() as driver, create_storage(driver) as storage:
            await storage.set_item("k", 1)
            before = await shown(driver)
            driver.left = n
            try:
                await PLAIN[call](storage)
            except UnavailableError:
                driver.left = -1
                assert await shown(driver) == before
            driver.left = -1


class LosesAnswers(MemoryDriver):
    """The answer to a write is lost, and reading back is refused for another reason than the connection."""

    lost = False

    async def _commit(self, units: Sequence[Unit]) -> list[Outcome]:
        outcomes = await super()._commit(units)
        if self.lost:
            raise UnavailableError("the answer was lost", sent=True)
        return outcomes

    async def _fetch(self, keys: Sequence[Key], values: bool) -> list[Item | None]:
        if self.lost:
            raise ReadOnlyError("the password was changed")
        return await super()._fetch(keys, values)


async def test_a_lost_answer_whose_reading_back_is_refused_is_unknown() -> None:
    at, head, log = key(name("u"), text("x")), key(name("head")), key(name("log"), name("n"))
    async with LosesAnswers() as driver:
        await driver.apply([Put(head, "")])
        (item,) = await driver.get([head])
        assert item is not None
        driver.lost = True
        for call in (
            lambda: driver.apply([Put(at, "1")]),
            lambda: driver.apply([Put(head, "1", item.etag)]),
            lambda: driver.append(log, [Put(key(name("e")), "x")], Check(head)),
        ):
            with pytest.raises(OutcomeUnknownError, match="the password was changed"):
                await call()
        outcomes = await driver.commit([[Put(at, "2")], Append(log, (Put(key(name("e")), "y"),), Check(head))])
        assert [type(outcome) for outcome in outcomes] == [OutcomeUnknownError] * 2
