"""Loops, threads and cancellations at once on one database: nothing acknowledged is lost, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from limpet import LeaseTimeoutError, Persistence, open_persistence, sync
from limpet.records import UserMessage

LOOPS, TASKS, THREADS = 3, 6, 6


class Seen:
    """What was acknowledged, and what was begun."""

    def __init__(self) -> None:
        self.messages: set[str] = set()
        self.increments = 0
        self.begun = 0
        self.done: set[int] = set()
        self.lock = threading.Lock()
        self.failures: list[BaseException] = []


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0


async def a_task(persistence: Persistence, seen: Seen, name: str, until: float) -> None:
    state = persistence.state(dict, "shared", factory=dict, timeout=20)
    work = persistence.work("jobs", lease=20)
    for n in range(10_000):
        if time.monotonic() > until:
            return
        with seen.lock:
            seen.begun += 1
        chance = random.random()
        try:
            async with asyncio.timeout(random.uniform(0.0, 0.02) if chance < 0.3 else None):
                async with state as held:
                    held["n"] = held.get("n", 0) + 1
            with seen.lock:
                seen.increments += 1
            async with asyncio.timeout(random.uniform(0.0, 0.02) if chance < 0.3 else None):
                text = f"{name}:{n}"
                await persistence.sessions.add_message("s1", UserMessage(content=text))
                seen.messages.add(text)
                await work.put(n)
                for job in await work.claim():
                    async with job:
                        await asyncio.sleep(0)
        except LeaseTimeoutError:
            raise
        except TimeoutError:
            pass


async def a_loop(persistence: Persistence, seen: Seen, name: str, until: float) -> None:
    async def cancelled_now_and_then() -> None:
        while time.monotonic() < until:
            task = asyncio.create_task(a_task(persistence, seen, f"{name}:{random.random()}", until))
            await asyncio.sleep(random.uniform(0, 0.2))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    tasks: list[Coroutine[Any, Any, None]] = [a_task(persistence, seen, f"{name}:{n}", until) for n in range(TASKS)]
    await asyncio.gather(*tasks, cancelled_now_and_then())


def a_thread(persistence: sync.Persistence, seen: Seen, name: str, until: float) -> None:
    state = persistence.state(dict, "shared", factory=dict, timeout=20)
    for n in range(10_000):
        if time.monotonic() > until:
            return
        with seen.lock:
            seen.begun += 1
        with state as held:
            held["n"] = held.get("n", 0) + 1
        with seen.lock:
            seen.increments += 1
        text = f"{name}:{n}"
        persistence.sessions.add_message("s1", UserMessage(content=text))
        seen.messages.add(text)
        for _ in zip(range(3), persistence.sessions.get_messages("s1"), strict=False):
            pass  # and left


@pytest.mark.parametrize("seconds", [2.0, pytest.param(20.0, marks=pytest.mark.slow)])
def test_loops_threads_and_cancellations(url: str, seconds: float) -> None:
    gc.collect()
    threads_before, descriptors_before = threading.active_count(), descriptors()
    persistence = open_persistence(url)
    plain = sync.Persistence.of(persistence)
    plain.sessions.save_session({"session_id": "s1"})
    seen = Seen()
    until = time.monotonic() + seconds

    def run(call: Any) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            seen.failures.append(error)

    threads = [
        threading.Thread(target=run, args=(lambda n=n: asyncio.run(a_loop(persistence, seen, f"loop {n}", until)),))
        for n in range(LOOPS)
    ]
    threads += [
        threading.Thread(target=run, args=(lambda n=n: a_thread(plain, seen, f"thread {n}", until),))
        for n in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "somebody hangs"
    assert seen.failures == []
    stored = [str(message.content) for message in plain.sessions.get_messages("s1")]  # type: ignore[attr-defined]
    assert len(set(stored)) == len(stored)
    assert seen.messages <= set(stored)
    assert [message.seq for message in plain.sessions.get_messages("s1")] == list(range(len(stored)))
    counted = plain.state(dict, "shared", factory=dict, timeout=5).get_state()["n"]
    assert seen.increments <= counted <= seen.begun
    with plain.state(dict, "shared", factory=dict, timeout=5):
        pass  # nobody kept it
    work = plain.work("jobs")
    while jobs := work.claim(limit=50):
        for job in jobs:
            job.complete()
    assert work.claimed() == 0
    loop = persistence._portal._loop.loop  # type: ignore[attr-defined]
    left = [task for task in asyncio.all_tasks(loop) if "keep_alive" in repr(task)]
    assert left == [], "a lease is renewed for nobody"
    plain.close()
    until = time.monotonic() + 10
    while threading.active_count() > threads_before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() == threads_before
    gc.collect()
    assert descriptors() <= descriptors_before
