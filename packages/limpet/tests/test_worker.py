"""One thread for work that would block the event loop."""

import asyncio
import subprocess
import sys
import threading
import time
from functools import partial

import pytest
from limpet.driver.kit import Worker


async def until_gone(name: str) -> None:
    async with asyncio.timeout(5):
        for _ in range(1000):
            if all(thread.name != name for thread in threading.enumerate()):
                return
            await asyncio.sleep(0.005)


async def test_jobs_run_in_order_in_one_thread() -> None:
    worker = Worker("one")
    seen: list[int] = []

    def job(n: int) -> int:
        seen.append(n)
        return threading.get_ident()

    threads = await asyncio.gather(*(worker.run(partial(job, n)) for n in range(50)))
    assert seen == list(range(50))
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()
    worker.stop()
    await until_gone("one")


async def test_an_error_goes_to_who_asked() -> None:
    worker = Worker("errors")
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    assert await worker.run(lambda: "still there") == "still there"
    worker.stop()


async def test_who_is_cancelled_before_the_turn_takes_the_job_along() -> None:
    worker = Worker("cancelled")
    gate, begun = threading.Event(), threading.Event()
    done: list[str] = []

    def long() -> None:
        begun.set()
        gate.wait(5)
        done.append("first")

    first = asyncio.create_task(worker.run(long))
    second = asyncio.create_task(worker.run(lambda: done.append("second")))
    assert await asyncio.to_thread(begun.wait, 5)
    for task in (first, second):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    gate.set()
    await worker.run(lambda: done.append("third"))
    assert done == ["first", "third"], "what had begun ends, what had not never begins"
    worker.stop()


async def test_stop_lets_given_jobs_end() -> None:
    worker = Worker("stopped")
    jobs = [asyncio.create_task(worker.run(partial(int, n))) for n in range(5)]
    await asyncio.sleep(0)
    worker.stop()
    assert await asyncio.gather(*jobs) == list(range(5))
    await until_gone("stopped")


async def test_idle_work_happens_between_jobs_and_as_often_as_it_asks() -> None:
    steps: list[float] = []
    again: list[float | None] = [0, 0.01, None]

    def idle() -> float | None:
        steps.append(time.monotonic())
        return again.pop(0) if again else None

    worker = Worker("idle", idle=idle)
    async with asyncio.timeout(5):
        while len(steps) < 3:  # noqa: ASYNC110 - the thread tells nobody
            await asyncio.sleep(0.005)
    assert steps[2] - steps[1] >= 0.009
    await asyncio.sleep(0.05)
    assert len(steps) == 3
    await worker.run(lambda: None)
    async with asyncio.timeout(5):
        while len(steps) < 4:  # noqa: ASYNC110 - the thread tells nobody
            await asyncio.sleep(0.005)
    worker.stop()


def test_it_never_hangs_the_exit() -> None:
    program = """
import asyncio, time
from limpet.driver.kit import Worker
async def main():
    worker = Worker("w")
    await worker.run(lambda: None)
    asyncio.create_task(worker.run(lambda: time.sleep(60)))
    await asyncio.sleep(0.05)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
