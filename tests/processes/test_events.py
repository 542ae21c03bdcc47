"""One channel, many processes: everybody sees everything in order; one queue of jobs: a killed worker's comes back once."""

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

SCRIPT = Path(__file__).with_name("eventer.py")
PROCESSES, TASKS, TIMES = 5, 4, 15
"""Twenty publishers, four in a process."""
TOTAL = PROCESSES * TASKS * TIMES
SUBSCRIBERS = 5
ACK_EVERY = 10


async def ready(url: str, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), url, *map(str, words)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - at once
    assert process.stdout is not None
    try:
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
    except BaseException:
        end(process)
        raise
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def end(process: subprocess.Popen[str]) -> None:
    with process:
        process.kill()


async def said(process: subprocess.Popen[str]) -> list[Any]:
    """Everything that it said until its end."""
    assert process.stdout is not None
    return [json.loads(line) for line in await asyncio.to_thread(process.stdout.readlines) if line.endswith("\n")]


async def heard(process: subprocess.Popen[str], count: int) -> list[Any]:
    """The first things that it said."""
    assert process.stdout is not None
    return [json.loads(await asyncio.to_thread(process.stdout.readline)) for _ in range(count)]


def seen(words: list[Any]) -> list[tuple[str, str]]:
    return [(word[1], word[2]) for word in words if word[0] == "seen"]


@pytest.mark.slow
async def test_everybody_sees_everything_in_order_though_one_is_killed(
    lasting_url: str, waited: Callable[[float, str], None]
) -> None:
    async with create_persistence(lasting_url), asyncio.timeout(400):
        processes: list[subprocess.Popen[str]] = []
        try:
            for n in range(PROCESSES):
                processes.append(await ready(lasting_url, "publish", n, TASKS, TIMES))
            for n in range(SUBSCRIBERS):
                processes.append(await ready(lasting_url, "subscribe", f"c{n}", TOTAL, ACK_EVERY))
            for process in reversed(processes):
                go(process)
            unlucky, steady = processes[PROCESSES], processes[PROCESSES + 1 :]
            before = asyncio.create_task(heard(unlucky, TOTAL // 4))
            published = asyncio.gather(*(said(process) for process in processes[:PROCESSES]))
            others = asyncio.gather(*(said(process) for process in steady))
            first = await before
            unlucky.kill()
            first += await said(unlucky)
            again = await ready(lasting_url, "subscribe", "c0", TOTAL, ACK_EVERY)
            processes.append(again)
            go(again)
            second = await said(again)
            told = [word for words in await published for word in words]
            ends = await others
        finally:
            for process in processes:
                end(process)
    truth = sorted((word[1], word[2]) for word in told)
    assert len({cursor for cursor, _ in truth}) == TOTAL
    for words in ends:
        assert seen(words) == truth
    assert seen(first) == truth[: len(seen(first))]
    assert seen(second) == truth[-len(seen(second)) :]
    doubles = len(seen(first)) + len(seen(second)) - TOTAL
    assert doubles >= 0, "the one that was killed missed something"
    acked = [word[1] for word in first if word[0] == "acked"]
    assert acked
    assert seen(second)[0][0] > acked[-1], "what it had acknowledged came again"
    assert doubles <= 2 * ACK_EVERY
    waited(max(word[3] for word in told), f"for one of {TOTAL} publishes")
    warm = [word[3] for word in told if not word[2].endswith(" 0")]
    waited(max(warm), f"for one of {len(warm)} publishes after a publisher's first")


async def test_the_job_of_a_killed_worker_comes_back_once(lasting_url: str) -> None:
    async with create_persistence(lasting_url) as persistence, asyncio.timeout(60):
        queue = persistence.work("crowd", lease=1, poll=0.1)
        (id,) = await queue.put({"sum": 12})
        process = await ready(lasting_url, "work", 1)
        try:
            go(process)
            assert await heard(process, 1) == [["holding", id]]
            assert await queue.claim(wait=1.5) == [], "its worker renews it"
        finally:
            end(process)
        waiting = [asyncio.create_task(queue.claim(wait=20)) for _ in range(5)]
        done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        (job,) = [job for task in done for job in task.result()]
        assert (job.id, job.value, job.attempts) == (id, {"sum": 12}, 2)
        await job.complete()
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        assert await queue.claim(wait=1.2) == []
