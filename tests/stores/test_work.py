"""The work queue: one worker for each job, given back when he is gone, a dead letter in the end."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest
from limpet import ConfigurationError, InvalidValueError, LeaseLostError, Persistence
from limpet.events import Job, WorkQueue
from limpet_conformance.faults import skewed


@pytest.fixture
def queue(persistence: Persistence) -> WorkQueue:
    return persistence.work("mail", poll=0.02)


@pytest.fixture
def short(persistence: Persistence) -> WorkQueue:
    """Its jobs come back soon."""
    return persistence.work("mail", lease=0.1, max_attempts=2, poll=0.02)


async def values(jobs: list[Job]) -> list[Any]:
    """What they are, once they are done."""
    for job in jobs:
        await job.complete()
    return [job.value for job in jobs]


async def one(queue: WorkQueue, wait: float = 20) -> Job:
    (job,) = await queue.claim(wait=wait)
    return job


async def test_the_way_of_a_job(queue: WorkQueue) -> None:
    assert await queue.claim() == []
    assert await queue.depth() == 0
    ids = await queue.put({"to": "ada"}, {"to": "bob"})
    assert await queue.depth() == 2
    job = await one(queue)
    assert (job.id, job.value, job.attempts) == (ids[0], {"to": "ada"}, 1)
    assert repr(job) == f"Job(id='{ids[0]}', value={{'to': 'ada'}}, attempts=1)"
    assert (await queue.depth(), await queue.claimed()) == (1, 1)
    await job.complete()
    assert await queue.claimed() == 0
    with pytest.raises(LeaseLostError):
        await job.complete()
    assert await values(await queue.claim(limit=10)) == [{"to": "bob"}]
    assert await queue.claim() == []


async def test_jobs_come_in_their_order(queue: WorkQueue) -> None:
    for n in range(7):
        await queue.put(n)
    assert await values(await queue.claim(limit=3)) == [0, 1, 2]
    assert await values(await queue.claim(limit=10)) == [3, 4, 5, 6]


async def test_every_group_does_every_job(persistence: Persistence) -> None:
    mail, audit = persistence.work("mail"), persistence.work("mail", group="audit")
    await mail.put("a", "b")
    assert await values(await mail.claim(limit=2)) == ["a", "b"]
    assert await audit.depth() == 2
    assert await values(await audit.claim(limit=2)) == ["a", "b"]
    assert await persistence.work("another").claim() == []


async def test_many_workers_do_each_job_once(persistence: Persistence) -> None:
    async def work() -> list[Any]:
        queue, done = persistence.work("mail"), []
        while jobs := await queue.claim(limit=2):
            done += await values(jobs)
        return done

    await persistence.work("mail").put(*range(30))
    done = await asyncio.gather(*(work() for _ in range(5)))
    assert sorted(n for part in done for n in part) == list(range(30))


async def test_who_waits_is_woken_by_a_put(persistence: Persistence) -> None:
    queue = persistence.work("mail", poll=20)
    waiting = asyncio.create_task(one(queue))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await persistence.work("mail").put("at last")
    async with asyncio.timeout(10):
        assert await values([await waiting]) == ["at last"]
    assert await queue.claim(wait=0.05) == []


async def test_a_job_that_took_too_long_is_completed_if_nobody_else_came(
    persistence: Persistence, face: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue = persistence.work("mail", lease=0.05)
    await queue.put("a")
    async with await one(queue):
        time.sleep(0.15)  # noqa: ASYNC251 - what the test is about
    assert ("asyncio.to_thread" in caplog.text) == (face == "itself")  # the others have a loop that is free
    assert (await queue.depth(), await queue.claimed(), len(await queue.dead_letters())) == (0, 0, 0)
    assert await queue.claim() == []


async def test_a_job_whose_worker_is_gone_comes_back_and_his_late_word_is_refused(short: WorkQueue) -> None:
    await short.put("a")
    late = await one(short)
    with skewed(-600):
        again = await one(short)
    assert (again.value, again.attempts, again.id) == ("a", 2, late.id)
    for word in (late.complete, late.retry, late.renew):
        with pytest.raises(LeaseLostError, match="no longer claimed"):
            await word()
    assert late.lost.is_set()
    await again.complete()
    assert await short.claim(wait=0.2) == []


async def test_a_block_keeps_its_job_and_completes_it(short: WorkQueue) -> None:
    await short.put("a")
    async with await one(short) as job:
        await asyncio.sleep(0.3)
        assert not job.lost.is_set()
        assert await short.claim() == []
    assert await short.claimed() == 0


async def test_a_block_that_fails_gives_its_job_back(persistence: Persistence) -> None:
    queue = persistence.work("mail", max_attempts=1)
    await queue.put("a")
    with pytest.raises(ZeroDivisionError):
        async with await one(queue):
            raise ZeroDivisionError("no luck")
    (letter,) = await queue.dead_letters()
    assert (letter.value, letter.attempts, letter.error) == ("a", 1, "ZeroDivisionError: no luck")


async def test_a_cancelled_block_gives_its_job_back_at_once(queue: WorkQueue) -> None:
    await queue.put("a")
    inside = asyncio.Event()

    async def work() -> None:
        async with await one(queue):
            inside.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    await asyncio.wait([task])
    (again,) = await queue.claim()
    assert again.attempts == 2


async def test_a_retry_waits_and_then_comes_first(queue: WorkQueue) -> None:
    await queue.put("a", "b", "c")
    job = await one(queue)
    await job.retry(delay=0.1, error="later")
    second = await one(queue)
    assert second.value == "b", "the first one pauses"
    await asyncio.sleep(0.15)
    again = await one(queue)
    assert (again.value, again.attempts) == ("a", 2)
    await again.retry(delay=0)
    assert (await one(queue)).attempts == 3
    await second.retry(delay=timedelta(days=1))
    assert (await one(queue)).value == "c"
    assert await queue.claim(wait=0.1) == []
    with pytest.raises(LeaseLostError):
        await second.complete()


async def test_after_the_last_try_it_is_a_dead_letter(short: WorkQueue) -> None:
    ids = await short.put("a", "b")
    for job in await short.claim(limit=2):
        await job.retry(delay=0, error="first")
    said, silent = await short.claim(limit=2)
    await said.retry(error="second")
    assert await short.claim(wait=0.5) == [], "one gave up, the other one's worker did not come back"
    letters = await short.dead_letters()
    assert [(letter.id, letter.value, letter.attempts, letter.error) for letter in letters] == [
        (ids[0], "a", 2, "second"),
        (ids[1], "b", 2, "first"),
    ]
    with pytest.raises(LeaseLostError):
        await silent.complete()
    assert await short.revive(ids[0])
    assert not await short.revive(ids[0])
    job = await one(short)
    assert (job.value, job.attempts) == ("a", 1)
    await job.complete()
    assert await short.delete(ids[1])
    assert not await short.delete(ids[1])
    assert await short.dead_letters() == []


async def test_what_a_group_still_needs_is_kept(persistence: Persistence) -> None:
    fast, slow = persistence.work("mail"), persistence.work("mail", group="slow")
    await fast.put("a", "b", "c")
    await persistence.collect_garbage()
    assert await fast.depth() == 3, "nobody has come yet"
    assert await slow.claim() != []
    held = await fast.claim(limit=2)
    await persistence.collect_garbage()
    assert (await fast.depth(), await slow.depth()) == (1, 2)
    await values(await fast.claim())
    await values(await slow.claim(limit=2))
    await persistence.collect_garbage()
    late = persistence.work("mail", group="late")
    assert (await late.depth(), await late.claim()) == (0, [])
    for job in held:
        await job.retry(delay=0)
    assert [job.value for job in await fast.claim(limit=5)] == ["a", "b"], "though the log has them no more"


async def test_a_group_that_found_nothing_is_waited_for(persistence: Persistence) -> None:
    early, other = persistence.work("mail", group="early"), persistence.work("mail")
    assert await early.claim() == []
    await other.put("a")
    await values(await other.claim())
    await persistence.collect_garbage()
    assert await values(await early.claim()) == ["a"]


async def test_more_than_one_batch_takes_is_claimed_in_parts(queue: WorkQueue) -> None:
    for n in range(4):
        await queue.put(f"{n}" * 600_000)
    taken = [
        len(jobs) for jobs in [await queue.claim(limit=10), await queue.claim(limit=10), await queue.claim(limit=10)]
    ]
    assert all(taken[:3])
    assert sum(taken) + len(await queue.claim(limit=10)) == 4


async def test_bad_input_is_refused_before_anything_is_written(persistence: Persistence, queue: WorkQueue) -> None:
    with pytest.raises(InvalidValueError, match="JSON"):
        await queue.put("fine", object())
    with pytest.raises(InvalidValueError, match=r"put\(\) needs at least one job"):
        await queue.put()
    with pytest.raises(InvalidValueError, match="limit"):
        await queue.claim(limit=0)
    with pytest.raises(InvalidValueError, match="not a job id"):
        await queue.revive("x")
    with pytest.raises(ConfigurationError):
        persistence.work("mail", max_attempts=0)
    with pytest.raises(ConfigurationError):
        persistence.work("mail", poll=0)
    with pytest.raises(InvalidValueError, match="lease is 0"):
        persistence.work("mail", lease=0)
    assert await queue.depth() == 0
