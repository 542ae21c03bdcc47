"""The flaws of Agentomatic's threads, messages and feedback that somebody reproduced.

As in `conftest`: each test runs on Limpet and on a small model of the old design, where it has to fail.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from limpet import LimpetError, Persistence, create_persistence
from limpet.driver import Driver
from limpet.opening import driver_from_url
from limpet_conformance.faults import Counts, counted


class OldDesign:
    """SQLAlchemyStore and MemoryStore with what is above them: where the two differ, the one that has the flaw."""

    def __init__(self) -> None:
        self.threads: dict[str, dict[str, Any]] = {}
        self.messages: list[dict[str, Any]] = []
        self.ratings: list[dict[str, Any]] = []
        self.approvals: dict[str, str] = {}
        self.ids, self.clock = count(1), count()
        self.asked = self.read = 0
        self.dies_after: int | None = None

    async def _query(self, rows: int = 1) -> None:
        self.asked, self.read = self.asked + 1, self.read + rows
        await asyncio.sleep(0)

    async def create(self, id: str, metadata: dict[str, Any] | None = None) -> None:
        await self._query()
        self.messages = [each for each in self.messages if each["thread"] != id]
        self.threads[id] = {"metadata": metadata or {}, "count": 0, "parent": None}

    async def set_metadata(self, id: str, metadata: dict[str, Any]) -> None:
        """The column is `metadata_json`; `metadata` is SQLAlchemy's own and is not stored."""

    async def metadata(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.threads[id]["metadata"] if id in self.threads else {}
        return found

    async def add(self, id: str, content: Any, *, key: str | None = None) -> None:
        total = self.threads[id]["count"] if id in self.threads else 0
        await self._query()
        if self.dies_after == 0:
            raise ConnectionError("the process died here")
        if self.dies_after is not None:
            self.dies_after -= 1
        row = {"id": next(self.ids), "thread": id, "content": json.dumps(content), "time": next(self.clock)}
        self.messages.append(row)
        if id in self.threads:
            self.threads[id]["count"] = total + 1

    async def add_turn(self, id: str, question: str, answer: str) -> None:
        for content in (question, answer):
            await self.add(id, content)

    async def message_count(self, id: str) -> int:
        return int(self.threads[id]["count"])

    async def contents(self, id: str) -> list[Any]:
        found = [each for each in self.messages if each["thread"] == id]
        await self._query(len(found))
        return [json.loads(each["content"]) for each in found]

    async def history(self, id: str, wanted: int) -> list[Any]:
        """What the memory manager loads: the oldest rows, and of these the last ones."""
        return (await self.contents(id))[: wanted + 50][-wanted:]

    async def times(self, id: str) -> list[Any]:
        return [each["time"] for each in self.messages if each["thread"] == id]

    async def clear(self, id: str) -> None:
        """The route deletes the thread and makes it again."""
        await self.create(id)

    async def fork(self, id: str, at: int, new: str) -> None:
        everything = [each for each in self.messages if each["thread"] == id]
        await self._query(len(everything))
        self.threads[new] = {"metadata": {}, "count": max(0, at + 1), "parent": id}
        for each in everything[: max(0, at + 1)]:
            await self._query()
            self.messages.append({**each, "id": next(self.ids), "thread": new, "time": next(self.clock)})

    async def ancestors(self, id: str) -> list[str]:
        found: list[str] = []
        while parent := self.threads[id]["parent"]:
            await self._query()
            await self._query()
            found.insert(0, parent)
            id = parent
        return found

    async def descendants(self, id: str) -> list[str]:
        await self._query(len(self.threads))
        return [each for each, row in self.threads.items() if row["parent"] == id]

    async def delete(self, id: str) -> None:
        del self.threads[id]
        self.messages = [each for each in self.messages if each["thread"] != id]

    async def rate(self, id: str, rating: int) -> None:
        self.ratings.append({"thread": id, "rating": rating})

    async def ratings_of(self, id: str) -> list[int]:
        """There is no filter by thread."""
        return [each["rating"] for each in self.ratings]

    async def ratings_page(self, limit: int, offset: int) -> list[int]:
        """There is no offset."""
        return [each["rating"] for each in reversed(self.ratings)][:limit]

    async def suspend(self, id: str, thread: str) -> None:
        self.approvals[id] = thread

    async def approvals_of(self, id: str) -> list[str]:
        return [each for each, thread in self.approvals.items() if thread == id]

    async def ids_of_user(self, user: str) -> list[str]:
        await self._query(len(self.threads))
        return list(self.threads) if user in ("", "u") else []


class NewDesign:
    """The same on Limpet, counted at the seam to the backend."""

    def __init__(self, persistence: Persistence, driver: Driver, counts: Counts) -> None:
        self.persistence, self.threads, self.counts = persistence, persistence.threads, counts
        self.dies_after: int | None = None
        seam: Any = driver
        commit = seam._commit

        async def dying(work: Any) -> Any:
            if self.dies_after == 0:
                raise ConnectionError("the process died here")
            if self.dies_after is not None:
                self.dies_after -= 1
            return await commit(work)

        seam._commit = dying

    @property
    def asked(self) -> int:
        return self.counts.commits + self.counts.fetches + self.counts.lists

    @property
    def read(self) -> int:
        return self.counts.items + self.counts.keys

    async def create(self, id: str, metadata: dict[str, Any] | None = None) -> None:
        await self.threads.create(id=id, user_id="u", agent_name="a", metadata=metadata)

    async def set_metadata(self, id: str, metadata: Mapping[str, Any]) -> None:
        await self.threads.update(id, metadata=metadata)

    async def metadata(self, id: str) -> dict[str, Any]:
        thread = await self.threads.get(id)
        return {} if thread is None else thread.metadata

    async def add(self, id: str, content: Any, *, key: str | None = None) -> None:
        await self.threads.add_message(id, "user", content, id=key, unique=key is not None)

    async def add_turn(self, id: str, question: str, answer: str) -> None:
        turn = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        await self.threads.add_messages(id, turn)

    async def message_count(self, id: str) -> int:
        thread = await self.threads.get(id)
        assert thread is not None
        return thread.message_count

    async def contents(self, id: str) -> list[Any]:
        return [message.content for message in await self.threads.get_messages(id)]

    async def history(self, id: str, wanted: int) -> list[Any]:
        return [message.content for message in await self.threads.get_messages(id, last=wanted)]

    async def times(self, id: str) -> list[Any]:
        return [message.timestamp for message in await self.threads.get_messages(id)]

    async def clear(self, id: str) -> None:
        await self.threads.clear_messages(id)

    async def fork(self, id: str, at: int, new: str) -> None:
        await self.threads.fork(id, at=at, id=new)

    async def ancestors(self, id: str) -> list[str]:
        return list((await self.threads.lineage(id)).ancestors)

    async def descendants(self, id: str) -> list[str]:
        return list((await self.threads.lineage(id)).descendants)

    async def delete(self, id: str) -> None:
        await self.threads.delete(id)

    async def rate(self, id: str, rating: int) -> None:
        await self.persistence.feedback.create(id, rating=rating)
        await asyncio.sleep(0.002)

    async def ratings_of(self, id: str) -> list[int]:
        return [each.rating or 0 for each in await self.persistence.feedback.list(thread_id=id)]

    async def ratings_page(self, limit: int, offset: int) -> list[int]:
        return [each.rating or 0 for each in await self.persistence.feedback.list(limit=limit, offset=offset)]

    async def suspend(self, id: str, thread: str) -> None:
        await self.persistence.approvals.create(id=id, thread_id=thread, agent_name="a", node_name="n", state={})

    async def approvals_of(self, id: str) -> list[str]:
        return [each.id for each in await self.persistence.approvals.list(thread_id=id)]

    async def ids_of_user(self, user: str) -> list[str]:
        return [each.id for each in await self.threads.list(user_id=user)]


Design = OldDesign | NewDesign
OLD = pytest.param(
    "old", marks=pytest.mark.xfail(strict=True, reason="the flaw of the old design", raises=(AssertionError, TypeError))
)


@pytest.fixture(params=["new", OLD])
async def design(request: pytest.FixtureRequest) -> AsyncIterator[Design]:
    if request.param == "old":
        yield OldDesign()
        return
    async with driver_from_url("memory://") as driver, create_persistence(driver) as persistence:
        with counted(driver) as counts:
            yield NewDesign(persistence, driver, counts)


async def filled(design: Design, id: str = "t", messages: int = 3) -> None:
    await design.create(id)
    for n in range(messages):
        await design.add(id, n)


async def test_the_count_is_right_although_fifty_add_at_once(design: Design) -> None:
    await design.create("t")
    await asyncio.gather(*(design.add("t", n) for n in range(50)))
    assert await design.message_count("t") == len(await design.contents("t")) == 50


async def test_an_agent_remembers_the_last_messages_and_not_the_first(design: Design) -> None:
    await filled(design, messages=300)
    assert await design.history("t", 50) == list(range(250, 300))


async def test_the_last_messages_are_read_without_the_others(design: Design) -> None:
    await filled(design, messages=300)
    before = design.read
    await design.history("t", 20)
    assert design.read - before < 30


async def test_metadata_that_is_changed_is_stored(design: Design) -> None:
    await design.create("t", {"a": 1})
    await design.set_metadata("t", {"a": 2})
    assert await design.metadata("t") == {"a": 2}


async def test_what_is_answered_is_no_way_into_the_store(design: Design) -> None:
    await design.create("t", {"a": 1})
    (await design.metadata("t"))["a"] = "changed by a reader"
    assert await design.metadata("t") == {"a": 1}


async def test_a_lineage_is_not_asked_for_step_by_step(design: Design) -> None:
    await filled(design, "f0")
    for depth in range(1, 11):
        await design.fork(f"f{depth - 1}", 1, f"f{depth}")
    before = design.asked
    assert await design.ancestors("f10") == [f"f{depth}" for depth in range(10)]
    assert design.asked - before <= 4


async def test_the_descendants_of_descendants_belong_to_it(design: Design) -> None:
    await filled(design, "f0")
    await design.fork("f0", 1, "f1")
    await design.fork("f1", 1, "f2")
    assert await design.descendants("f0") == ["f1", "f2"]


async def test_a_fork_reads_and_writes_no_message(design: Design) -> None:
    await filled(design, messages=100)
    read, asked = design.read, design.asked
    await design.fork("t", 80, "fork")
    assert design.asked - asked <= 4
    assert design.read - read <= 20
    assert await design.contents("fork") == list(range(81))


async def test_forked_messages_keep_their_times(design: Design) -> None:
    await filled(design)
    await design.fork("t", 1, "fork")
    assert await design.times("fork") == (await design.times("t"))[:2]


@pytest.mark.parametrize("at", [-1, 99])
async def test_a_fork_at_a_message_that_is_not_there_is_none(design: Design, at: int) -> None:
    await filled(design)
    with suppress(LimpetError):
        await design.fork("t", at, "fork")
    assert "fork" not in await design.ids_of_user("u")


async def test_an_id_that_is_taken_costs_nobody_a_message(design: Design) -> None:
    await filled(design)
    with suppress(LimpetError):
        await design.create("t")
    assert await design.contents("t") == [0, 1, 2]


async def test_no_message_without_a_thread(design: Design) -> None:
    with suppress(LimpetError):
        await design.add("no", "orphan")
    assert await design.contents("no") == []


async def test_clearing_the_messages_leaves_the_thread(design: Design) -> None:
    await design.create("t", {"a": 1})
    await design.add("t", "x")
    await design.clear("t")
    assert (await design.metadata("t"), await design.contents("t")) == ({"a": 1}, [])


async def test_a_turn_is_stored_whole_or_not_at_all(design: Design) -> None:
    await design.create("t")
    for writes in (0, 1):
        design.dies_after = writes
        with suppress(ConnectionError, LimpetError):
            await design.add_turn("t", "question", "answer")
        assert await design.contents("t") in ([], ["question", "answer"])
    assert design.dies_after == 0, "it was written, once"


async def test_a_retry_adds_nothing_twice(design: Design) -> None:
    await design.create("t")
    for _ in range(3):
        await design.add("t", "once", key="m1")
    assert await design.contents("t") == ["once"]


async def test_what_is_no_json_is_stored_as_json(design: Design) -> None:
    await design.create("t")
    await design.add("t", {"at": datetime(2026, 1, 2, tzinfo=UTC)})
    assert await design.contents("t") == [{"at": "2026-01-02T00:00:00Z"}]


async def test_feedback_is_found_by_its_thread(design: Design) -> None:
    await filled(design, "a")
    await filled(design, "b")
    await design.rate("a", 1)
    await design.rate("b", 5)
    assert await design.ratings_of("b") == [5]


async def test_feedback_has_pages(design: Design) -> None:
    await filled(design)
    for rating in range(1, 6):
        await design.rate("t", rating)
    assert await design.ratings_page(2, 0) == [5, 4]
    assert await design.ratings_page(2, 2) == [3, 2]


async def test_a_thread_takes_along_what_hangs_on_it(design: Design) -> None:
    await filled(design)
    await design.rate("t", 5)
    await design.suspend("a", "t")
    await design.delete("t")
    assert (await design.ratings_of("t"), await design.approvals_of("t")) == ([], [])


async def test_a_lineage_survives_what_it_leads_over(design: Design) -> None:
    await filled(design, "f0")
    await design.fork("f0", 1, "f1")
    await design.fork("f1", 1, "f2")
    await design.delete("f1")
    with suppress(KeyError):
        assert await design.ancestors("f2") == ["f0", "f1"]
        assert await design.descendants("f0") == ["f2"]
        return
    raise AssertionError("the lineage is broken")


async def test_the_threads_of_one_user_are_found_without_the_others(design: Design) -> None:
    for n in range(100):
        await design.create(f"t{n}")
    before = design.read
    assert await design.ids_of_user("nobody") == []
    assert design.read - before <= 3


async def test_an_empty_name_is_a_name_and_not_everybody(design: Design) -> None:
    await design.create("t")
    assert await design.ids_of_user("") == []
