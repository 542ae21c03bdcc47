"""One approval, many processes: one winner, and a holder that is killed gives it back once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest
from limpet import AlreadyClaimedError, create_persistence
from limpet.stores import Claim, Persistence

SCRIPT = Path(__file__).with_name("claimer.py")


def started(url: str, tasks: int, hold: float) -> subprocess.Popen[str]:
    """A claimer that is ready to begin."""
    command = [sys.executable, str(SCRIPT), url, "a", str(tasks), str(hold)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


async def suspend(persistence: Persistence) -> None:
    await persistence.approvals.create(id="a", thread_id="t", agent_name="g", node_name="n", state={"sum": 12})


@pytest.mark.slow
async def test_of_fifty_claims_from_five_processes_one_wins(lasting_url: str) -> None:
    async with create_persistence(lasting_url) as persistence:
        await suspend(persistence)
        processes = [await asyncio.to_thread(started, lasting_url, 10, 0) for _ in range(5)]
        ended = await asyncio.gather(*(asyncio.to_thread(process.communicate, "go\n", 60) for process in processes))
        assert [process.returncode for process in processes] == [0] * 5
        winners = [word for out, _ in ended for word in out.split() if word != "done"]
        assert len(winners) == 1
        found = await persistence.approvals.get("a")
        assert found is not None
        assert found.claim is not None
        assert (found.claim.by, found.attempts) == (winners[0], 1)


async def test_a_holder_that_is_killed_gives_it_back_once(lasting_url: str) -> None:
    async with create_persistence(lasting_url) as persistence:
        await suspend(persistence)
        with await asyncio.to_thread(started, lasting_url, 1, 60) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            assert await asyncio.to_thread(process.stdout.readline) == "holding\n"
            with pytest.raises(AlreadyClaimedError, match=str(process.pid)):
                await persistence.approvals.claim("a", by="next", decision="approve")
            process.kill()

        async def take(n: int) -> Claim | None:
            until = monotonic() + 15
            while monotonic() < until:
                try:
                    return await persistence.approvals.claim("a", by=f"next {n}", decision="approve")
                except AlreadyClaimedError as error:
                    if error.by.startswith("next"):
                        return None
                    await asyncio.sleep(0.02)
            raise AssertionError("it never came back")

        (again,) = [claim for claim in await asyncio.gather(*(take(n) for n in range(5))) if claim]
        assert again.approval.attempts == 2
        assert (await again.complete()).state == {"sum": 12}
