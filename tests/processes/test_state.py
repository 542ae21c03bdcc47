"""One state, many processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from limpet import create_persistence
from limpet.opening import driver_from_url
from limpet.state import BaseAgentState

SCRIPT = Path(__file__).with_name("incrementer.py")
PROCESSES, TIMES = 8, 200


class CounterState(BaseAgentState):
    count: int = 0


def started(url: str) -> list[subprocess.Popen[str]]:
    """All of them, each ready to begin."""
    command = [sys.executable, str(SCRIPT), url, str(TIMES)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    return processes


@pytest.mark.slow
async def test_eight_processes_lose_no_increment(lasting_url: str) -> None:
    processes = started(lasting_url)
    try:
        ended = await asyncio.gather(*(asyncio.to_thread(process.communicate, "go\n", 120) for process in processes))
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * PROCESSES
    assert max(float(worst) for worst, _ in ended) < 30, "nobody waits for long"
    async with create_persistence(lasting_url) as persistence:
        state = await persistence.state(CounterState, "__agent_counter").get_state()
    assert state.count == PROCESSES * TIMES


def killed_while_it_holds(url: str) -> None:
    command = [sys.executable, str(SCRIPT.with_name("holder.py")), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        process.kill()


async def test_a_holder_that_is_killed_gives_way_and_leaves_nothing_behind(lasting_url: str) -> None:
    async with create_persistence(lasting_url) as persistence:
        state = persistence.state(dict, "held", timeout=10)
        async with state as held:
            held["saved"] = True
        await asyncio.to_thread(killed_while_it_holds, lasting_url)
        async with state as held:
            assert held == {"saved": True}
            held["again"] = True
        assert await state.get_state() == {"saved": True, "again": True}


async def test_tasks_of_two_openings_in_memory_lose_none() -> None:
    async with (
        driver_from_url("memory://") as driver,
        create_persistence(driver) as one,
        create_persistence(driver) as other,
    ):
        states = [persistence.state(CounterState, "c") for persistence in (one, other) for _ in range(4)]

        async def work(n: int) -> None:
            for _ in range(TIMES):
                async with states[n] as state:
                    state.count += 1

        await asyncio.gather(*(work(n) for n in range(PROCESSES)))
        assert (await states[0].get_state()).count == PROCESSES * TIMES
