"""Writes of an application's own in the batch of a thread: both happen, or neither, on every driver."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from limpet import ConflictError, NotFoundError, Persistence
from limpet.driver import If, Put, Write, name
from limpet.structures import BatchPart, ReadSet

AT = name("own.total")


def adding(number: int) -> BatchPart:
    def plan(reads: ReadSet) -> Sequence[Write]:
        item = reads[AT]
        total = 0 if item is None else int(str(item.value))
        return [Put(AT, str(total + number), If.ABSENT if item is None else item.etag)]

    return BatchPart([AT], plan)


async def total(persistence: Persistence) -> str | None:
    (item,) = await persistence.driver.get([AT])
    return None if item is None else str(item.value)


async def test_a_new_thread_and_its_messages_bring_writes_along(persistence: Persistence) -> None:
    threads = persistence.threads
    await threads.create(id="t1", user_id="u1", agent_name="a", also=adding(1))
    await threads.add_messages("t1", [{"role": "user", "content": "x"}], also=adding(10))
    await threads.add_messages("t1", [{"role": "user"}], metadata=lambda old: {**old, "n": 1}, also=adding(100))
    assert await total(persistence) == "111"
    found = await threads.get("t1")
    assert found is not None
    assert (found.message_count, found.metadata) == (2, {"n": 1})


async def test_nothing_is_written_where_the_thread_refuses(persistence: Persistence) -> None:
    threads = persistence.threads
    await threads.create(id="t1", user_id="u1", agent_name="a")
    await threads.create(id="t1", user_id="u1", agent_name="a", exist_ok=True, also=adding(1))
    with pytest.raises(ConflictError):
        await threads.create(id="t1", user_id="u1", agent_name="a", also=adding(1))
    with pytest.raises(NotFoundError):
        await threads.add_messages("no", [{"role": "user"}], also=adding(1))
    with pytest.raises(ZeroDivisionError):
        await threads.add_messages("t1", [{"role": "user"}], metadata=lambda _: {"n": 1 // 0}, also=adding(1))
    assert (await total(persistence), await threads.count_messages("t1")) == (None, 0)


async def test_what_the_part_raises_stores_no_message(persistence: Persistence) -> None:
    def refuse(reads: ReadSet) -> Sequence[Write]:
        raise LookupError("no")

    await persistence.threads.create(id="t1", user_id="u1", agent_name="a")
    with pytest.raises(LookupError):
        await persistence.threads.add_messages("t1", [{"role": "user"}], also=BatchPart([AT], refuse))
    with pytest.raises(LookupError):
        await persistence.threads.create(id="t2", user_id="u1", agent_name="a", also=BatchPart([AT], refuse))
    assert (await persistence.threads.count_messages("t1"), await persistence.threads.exists("t2")) == (0, False)


async def test_concurrent_parts_are_all_kept(persistence: Persistence) -> None:
    threads = persistence.threads
    new = [threads.create(id=f"t{n}", user_id="u1", agent_name="a", also=adding(1)) for n in range(8)]
    await asyncio.gather(*new)
    said = [threads.add_messages(f"t{n % 4}", [{"role": "user"}], also=adding(1)) for n in range(16)]
    await asyncio.gather(*said)
    assert await total(persistence) == "24"
    assert sum([thread.message_count async for thread in threads.list()]) == 16
