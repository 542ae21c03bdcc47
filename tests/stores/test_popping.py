"""Taking the newest message, and appending in one batch with what belongs to it, on every driver."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from limpet import ConflictError, InvalidValueError, NotFoundError, OutcomeUnknownError, Persistence, create_persistence
from limpet.driver import Put, Range
from limpet_conformance.faults import never_arrived

NEW: Any = {"user_id": "u", "agent_name": "a"}


async def contents(persistence: Persistence, thread: str = "t") -> list[Any]:
    return [message.content for message in await persistence.threads.get_messages(thread)]


async def test_the_newest_goes_first(persistence: Persistence) -> None:
    threads = persistence.threads
    assert await threads.pop_message("t") is None
    await threads.add_messages("t", [{"role": "user", "content": n} for n in range(3)], create=NEW)
    popped = [await threads.pop_message("t") for _ in range(2)]
    assert [message.content for message in popped if message is not None] == [2, 1]
    later = await threads.add_message("t", "user", "later")
    assert later.seq == 3, "a number is never used twice"
    last = await threads.pop_message("t")
    assert last == later
    assert await contents(persistence) == [0]
    assert await threads.pop_message("t") is not None
    assert await threads.pop_message("t") is None
    assert await threads.count_messages("t") == 0
    assert await threads.exists("t")


async def test_of_many_at_once_each_gets_another(persistence: Persistence) -> None:
    sessions: Any = persistence.sessions
    await sessions.add_messages("s", [{"role": "user", "content": str(n)} for n in range(12)], create=True)
    popped = await asyncio.gather(*(sessions.pop_message("s") for _ in range(16)))
    found = [message.content for message in popped if message is not None]
    assert sorted(found, key=int) == [str(n) for n in range(12)]
    assert await sessions.count_messages("s") == 0


async def test_an_append_in_between_is_the_newest(persistence: Persistence) -> None:
    sessions: Any = persistence.sessions
    await sessions.add_messages("s", [{"role": "user", "content": str(n)} for n in range(5)], create=True)
    taken, added = await asyncio.gather(
        asyncio.gather(*(sessions.pop_message("s") for _ in range(5))),
        asyncio.gather(*(sessions.add_message("s", {"role": "user", "content": f"new {n}"}) for n in range(5))),
    )
    left = [message.content for message in await sessions.get_messages("s")]
    gone = [message.content for message in taken if message is not None]
    assert sorted(left + gone) == sorted([str(n) for n in range(5)] + [message.content for message in added])


async def test_a_fork_keeps_what_its_parent_pops(persistence: Persistence) -> None:
    threads = persistence.threads
    await threads.add_messages("t", [{"role": "user", "content": n} for n in range(3)], create=NEW)
    fork = await threads.fork("t")
    assert (await threads.pop_message("t") or fork).content == 2  # type: ignore[union-attr]
    assert await contents(persistence, fork.id) == [0, 1, 2]
    assert (await threads.pop_message(fork.id) or fork).content == 2  # type: ignore[union-attr]
    assert (await threads.pop_message(fork.id) or fork).content == 1  # type: ignore[union-attr]
    assert await contents(persistence) == [0, 1]


async def test_a_damaged_message_is_passed(persistence: Persistence) -> None:
    await persistence.threads.add_messages("t", [{"role": "user", "content": n} for n in range(3)], create=NEW)
    page = await persistence.driver.scan(Range("threads.messages!@t!e"))
    await persistence.driver.apply([Put(page.items[-1].key, "{")])
    message = await persistence.threads.pop_message("t")
    assert message is not None
    assert message.content == 1
    assert await contents(persistence) == [0]


async def test_a_thread_is_made_with_its_first_message(persistence: Persistence) -> None:
    threads = persistence.threads
    with pytest.raises(NotFoundError):
        await threads.add_message("t", "user", "x")
    messages = await asyncio.gather(*(threads.add_message("t", "user", n, create=NEW) for n in range(8)))
    assert sorted(message.seq or 0 for message in messages) == list(range(8))
    found = await threads.get("t")
    assert found is not None
    assert (found.user_id, found.agent_name, found.message_count) == ("u", "a", 8)
    wrong: Any = {"user_id": "u"}
    with pytest.raises((InvalidValueError, TypeError)):
        await threads.add_message("other", "user", "x", create=wrong)
    assert not await threads.exists("other")


async def test_metadata_changes_with_the_messages_or_not_at_all(persistence: Persistence) -> None:
    threads = persistence.threads
    await threads.create(id="t", **NEW, metadata={"n": 0})

    async def event(n: int) -> None:
        await threads.add_messages(
            "t", [{"role": "user", "content": n}], metadata=lambda old: {**old, "n": old["n"] + 1, f"key {n}": n}
        )

    await asyncio.gather(*(event(n) for n in range(20)))
    found = await threads.get("t")
    assert found is not None
    assert found.metadata == {"n": 20, **{f"key {n}": n for n in range(20)}}
    assert sorted(await contents(persistence)) == list(range(20))

    def refuse(old: dict[str, Any]) -> dict[str, Any]:
        old["n"] = -1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await threads.add_messages("t", [{"role": "user", "content": "no"}], metadata=refuse)
    again = await threads.get("t")
    assert again is not None
    assert (again.metadata["n"], again.message_count) == (20, 20)
    await threads.add_messages("t", [], metadata=lambda old: {"only": "metadata"})
    changed = await threads.get("t")
    assert changed is not None
    assert (changed.metadata, changed.message_count) == ({"only": "metadata"}, 20)


async def test_a_stale_writer_is_refused(persistence: Persistence) -> None:
    threads = persistence.threads
    await threads.create(id="t", **NEW)
    found = await threads.get_with_etag("t")
    assert found is not None
    thread, etag = found
    assert thread == await threads.get("t")
    message = {"role": "user", "content": "x"}
    await threads.add_messages("t", [message], if_match=etag)
    await threads.add_messages("t", [message], metadata=lambda old: {"n": 1}, if_match=etag)
    for options in ({}, {"metadata": dict}):
        with pytest.raises(ConflictError, match="has changed"):
            await threads.add_messages("t", [message], if_match=etag, **options)  # type: ignore[arg-type]
    assert await threads.count_messages("t") == 2
    assert await threads.get_with_etag("no") is None


async def test_an_append_that_fails_stores_neither_half() -> None:
    async with create_persistence("memory://", batching=False) as persistence:
        await persistence.threads.create(id="t", **NEW)
        inner: Any = persistence.driver
        while hasattr(inner, "inner"):
            inner = inner.inner
        with never_arrived(inner, times=100), pytest.raises(OutcomeUnknownError):
            await persistence.threads.add_messages("t", [{"role": "user", "content": 1}], metadata=lambda old: {"n": 1})
        found = await persistence.threads.get("t")
        assert found is not None
        assert (found.metadata, found.message_count) == ({}, 0)
