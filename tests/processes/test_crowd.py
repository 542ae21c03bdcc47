"""Eight processes with fifty tasks each want the same: one key, one session, one lease."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from limpet import create_persistence
from limpet.driver import Range
from limpet.records import ContainerRecord, ImageRecord, SessionRecord

SCRIPT = Path(__file__).with_name("crowd.py")
PROCESSES, TASKS = 8, 50
TEN_MINUTES = 600

pytestmark = pytest.mark.slow


async def crowd(url: str, work: str, times: int, skew: float = 0, tasks: int = TASKS) -> tuple[list[Any], float]:
    """What all of them saw, and the longest time in seconds that one of them took for one."""
    processes = [
        subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            [sys.executable, str(SCRIPT), url, work, str(tasks), str(times), str(0 if n else skew)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(PROCESSES)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        ended = await asyncio.gather(*(asyncio.to_thread(process.communicate, "go\n", 200) for process in processes))
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * PROCESSES
    results = [json.loads(out) for out, _ in ended]
    return [seen for result in results for seen in result["seen"]], max(result["worst"] for result in results)


async def test_increments_of_one_key_are_all_counted(lasting_url: str, waited: Callable[[float, str], None]) -> None:
    async with create_persistence(lasting_url) as persistence:
        await persistence.kv(int, "crowd").set("counter", 0)
        counted, worst = await crowd(lasting_url, "increment", 2)
        total = PROCESSES * TASKS * 2
        assert sorted(counted) == list(range(1, total + 1)), "each of them got a number of its own"
        assert await persistence.kv(int, "crowd").get("counter") == total
    waited(worst, f"for one of {total} increments")


async def test_messages_to_one_session_have_no_gap_and_no_double(
    lasting_url: str, waited: Callable[[float, str], None]
) -> None:
    async with create_persistence(lasting_url) as persistence:
        await persistence.containers.save_container(ContainerRecord(container_id="c"))
        await persistence.images.save_image(
            ImageRecord(image_id="i", container_id="c", session_id="crowd", name="a crowd's")
        )
        await persistence.sessions.save_session(SessionRecord(session_id="crowd", image_id="i", container_id="c"))
        said, worst = await crowd(lasting_url, "converse", 4)
        total = PROCESSES * TASKS * 4
        stored = [(m.seq, m.model_dump()["content"]) async for m in persistence.sessions.get_messages("crowd")]
        assert [seq for seq, _ in stored] == list(range(total))
        assert stored == sorted((seq, content) for seq, content in said)
    waited(worst, f"for one of {total} messages")


async def test_a_lease_never_has_two_owners_though_a_clock_is_ten_minutes_off(
    lasting_url: str, waited: Callable[[float, str], None]
) -> None:
    tokens, worst = await crowd(lasting_url, "hold", 1, skew=TEN_MINUTES)
    total = PROCESSES * TASKS
    assert len(tokens) == total
    assert len(set(tokens)) == total, "a fencing token was given twice"
    waited(worst, f"for one of {total} holdings")


async def test_forks_of_one_thread_share_what_was_there_and_are_counted(
    lasting_url: str, waited: Callable[[float, str], None]
) -> None:
    async with create_persistence(lasting_url) as persistence:
        threads = persistence.threads
        await threads.create(id="crowd", user_id="u", agent_name="a")
        seen, worst = await crowd(lasting_url, "fork", 1, tasks=8)
        total = PROCESSES * 8
        assert sorted(said for _, said, *_ in seen) == list(range(total))
        assert all(said < shared == own for _, said, shared, own, _ in seen), "all that was said, and no gap"
        kept = {id: shared for id, _, shared, _, stays in seen if stays}
        assert (await threads.stats()).threads == 1 + len(kept) == 1 + total // 2
        assert len((await threads.lineage("crowd")).descendants) == len(kept)
        parent = [message.id for message in await threads.get_messages("crowd")]
        await threads.delete("crowd")
        await persistence.collect_garbage()
        for id, shared in sorted(kept.items())[::8]:
            assert [message.id for message in await threads.get_messages(id)][:-1] == parent[:shared]
        for id in kept:
            await threads.delete(id)
        await persistence.collect_garbage()
        left = await persistence.driver.scan(Range("threads.messages", limit=500, values=False))
        assert [item.key for item in left.items if not item.key.endswith("!n")] == []
    waited(worst, f"for one of {total} messages with a fork")
