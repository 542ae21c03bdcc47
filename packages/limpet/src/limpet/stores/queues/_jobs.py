"""The work queue: each job is done by one worker, comes back if the worker dies, and can end as a dead letter."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing, nullcontext, suppress
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any

from ..._arguments import checked_arguments
from ..._errors import (
    ConfigurationError,
    ConflictError,
    CorruptDataError,
    InvalidValueError,
    LeaseLostError,
    NotFoundError,
)
from ..._json import dump_plain
from ..._run_to_end import take
from ...driver import Delete, Driver, If, Item, Key, Put, Range, Write, key, name, new_etag, number, split, text
from ...driver.kit import backoff, scan_all, scan_pages
from ...structures import (
    KeysBelow,
    Listing,
    Log,
    LogCache,
    OwnedItem,
    Plan,
    ReadSet,
    load_value,
    log_skipped,
    scan_all_each,
    scan_each,
    stamp_value,
    transact,
    visible,
)
from .._durations import duration_to_ms
from .._formats import JOB
from ._job import Job
from ._job_documents import (
    DeadLetter,
    check_id,
    dead_letter,
    dump_state,
    load_state,
    number_of,
    unreadable_state,
    up_to,
)
from ._wakeups import Wakeups

__all__ = ["DeadLetter", "Job", "WorkQueue", "collect_jobs", "work_wakeups"]

_logger = logging.getLogger("limpet")
_LOGS, _QUEUES, _GROUPS = name("work"), name("work.queues"), name("work.groups")
_TAKEN, _LEASES, _DEAD = name("work.taken"), name("work.leases"), name("work.dead")
_PAGE = 500
_TRIES = 200
_CLAIM_BYTES = 1 << 20
"""Maximum bytes of jobs in one claim of several jobs: they must fit in one batch."""


@checked_arguments
class WorkQueue:
    """Jobs by name, each done once by each group of workers. `persistence.work(name)` makes one; that costs nothing.

    A claimed job belongs to its worker for `lease`, and longer if the worker renews it. After that, another worker can
    claim it, with `attempts` increased by one; after `max_attempts` it becomes a dead letter. External effects of a job
    can happen twice, if a worker dies before `complete`. Jobs are handed out in order, those that came back first. A
    group starts with its first `claim`, at the oldest job that still exists; from then on, no job is removed that it
    has not claimed.
    """

    def __init__(
        self,
        driver: Driver,
        queue: str,
        *,
        group: str = "default",
        lease: float | timedelta = timedelta(seconds=30),
        max_attempts: int = 5,
        poll: float = 0.5,
        wakeups: Wakeups | None = None,
    ) -> None:
        if max_attempts < 1 or poll <= 0:
            raise ConfigurationError(
                f"max_attempts is {max_attempts}, poll is {poll}: max_attempts must be at least 1, and poll more than 0"
            )
        self.name: str = queue
        self.group: str = group
        self._driver = driver
        self._log = Log(driver, key(_LOGS, text(queue)), LogCache())
        self._lease_ms = duration_to_ms(lease, "lease")
        self._max_attempts = max_attempts
        self._poll = poll
        self._wakeups = wakeups or work_wakeups(driver)
        self._next = _below(_GROUPS, queue, group)
        self._taken = _below(_TAKEN, queue, group)
        self._leases = _below(_LEASES, queue, group)
        self._dead = _below(_DEAD, queue, group)
        self._one_at_a_time = asyncio.Lock()
        self._looked = 0.0
        """When this queue last looked for jobs that came back."""

    async def put(self, *values: Any) -> list[str]:
        """Add jobs (JSON; models and dates are converted), all or none; return their ids. One driver call when warm.

        Raises `InvalidValueError` for a value that would come back changed, and `TooLargeError`.
        """
        if not values:
            raise InvalidValueError("put() needs at least one job")
        written = [stamp_value(dump_plain(value, "the job", convert=True), JOB.version) for value in values]
        while True:
            try:
                first = await self._log.append(*written)
            except NotFoundError:
                await self._create()
            else:
                self._wakeups.wake(self._log.base)
                return [number(first + n) for n in range(len(written))]

    async def claim(self, *, limit: int = 1, wait: float = 0.0) -> list[Job]:
        """Claim up to `limit` jobs, waiting for up to `wait` seconds for the first; return `[]` if there is none.

        If this raises `OutcomeUnknownError`, it may have claimed jobs: they come back after `lease`.
        """
        if limit < 1:
            raise InvalidValueError(f"limit is {limit}: it must be at least 1")
        until = monotonic() + wait
        with self._wakeups.waiting(self._log.base) if wait > 0 else nullcontext(asyncio.Event()) as woken:
            while True:
                woken.clear()  # before looking: whoever puts from now on wakes us again
                jobs = await take(self._look(limit), _give_back)
                left = until - monotonic()
                if jobs or left <= 0:
                    return jobs
                with suppress(TimeoutError):  # jobs that come back notify nobody, so look again now and then
                    async with asyncio.timeout(min(left, self._poll)):
                        await woken.wait()

    async def depth(self) -> int:
        """Return how many jobs this group has not claimed yet, without a scan."""
        head, counter, following = await self._driver.get([*self._log.keys, self._next])
        left = visible(head, counter)
        if counter is None or following is None:
            return left
        return min(left, max(0, number_of(counter) - number_of(following)))

    async def claimed(self) -> int:
        """Return how many jobs are claimed, not completed or given up, including those waiting for another attempt."""
        return len([item async for item in scan_all_each(self._driver, self._taken, values=False)])

    def dead_letters(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[DeadLetter]:
        """List the jobs that failed their last attempt, oldest first."""

        async def fetch(position: str | None, count: int) -> tuple[Sequence[DeadLetter | CorruptDataError], str | None]:
            page = await scan_each(self._driver, Range(self._dead, after=position, limit=count))
            return [dead_letter(item) for item in page.items], page.next

        return Listing([self._dead], fetch, limit=limit, cursor=cursor, positions=KeysBelow(self._dead))

    async def revive(self, id: str) -> bool:
        """Let a dead letter be claimed again, as if for the first time; return whether there was one."""
        at, taken = key(self._dead, check_id(id)), key(self._taken, check_id(id))

        def plan(reads: ReadSet) -> Plan[bool]:
            item = reads[at]
            if item is None:
                return Plan([], False)
            state = load_state(item)
            if "raw" in state:
                raise CorruptDataError(
                    f"the dead letter {id} cannot be read, so it cannot be revived: delete it", key=at
                )
            again = {"attempts": 0, "value": state["value"]}
            return Plan([Delete(at, item.etag), Put(taken, dump_state(again), If.ABSENT)], True)

        revived = await transact(self._driver, [at], plan)
        self._wakeups.wake(self._log.base)
        return revived

    async def delete(self, id: str) -> bool:
        """Delete a dead letter for good; return whether there was one."""
        try:
            await self._driver.apply([Delete(key(self._dead, check_id(id)), If.PRESENT)])
        except ConflictError:
            return False
        return True

    # Implementation.

    async def _create(self) -> None:
        listed = key(_QUEUES, text(self.name))

        def plan(reads: ReadSet) -> Plan[None]:
            named = [] if reads[self._log.base] else [Put(listed, self.name)]
            return Plan([*self._log.plan_create(reads), *named], None)

        await transact(self._driver, self._log.keys, plan)

    async def _look(self, limit: int) -> list[Job]:
        """First look for jobs that came back, then for new ones. A busy queue does the former only once per `poll`."""
        started = monotonic()
        due = started - self._looked >= self._poll
        jobs = await self._come_back(limit) if due else []
        if len(jobs) < limit:
            async with self._one_at_a_time:
                jobs += await self._new(limit - len(jobs))
        if not jobs and not due:
            jobs = await self._come_back(limit)
        return jobs

    async def _come_back(self, limit: int) -> list[Job]:
        """Jobs whose worker is gone, or whose delay has passed."""
        started = monotonic()
        jobs: list[Job] = []
        taken = Range(self._taken, limit=_PAGE, values=False)
        async with aclosing(scan_pages(partial(scan_each, self._driver), taken)) as pages:
            async for page in pages:
                leases = await self._driver.get([self._lease(item) for item in page.items]) if page.items else []
                for item, lease in zip(page.items, leases, strict=True):
                    job = await self._retake(item) if lease is None else None
                    if job is not None:
                        jobs.append(job)
                    if len(jobs) == limit:
                        return jobs
        self._looked = started
        return jobs

    async def _retake(self, item: Item) -> Job | None:
        id = split(item.key)[-1]
        claim = self._claim(id)
        lease = claim.put.key

        def plan(reads: ReadSet) -> Plan[Job | None]:
            taken = reads[item.key]
            if taken is None or reads[lease] is not None:
                return Plan([], None)
            try:
                state = load_state(taken)
            except CorruptDataError as error:
                dead = dump_state(unreadable_state(error, taken.value, 1))
                return Plan([Delete(taken.key, taken.etag), Put(key(self._dead, id), dead)], None)
            if state["attempts"] >= self._max_attempts:
                # Whoever took it meanwhile has changed it, so its etag also stands for the lease.
                return Plan([Delete(taken.key, taken.etag), Put(key(self._dead, id), dump_state(state))], None)
            state = {**state, "attempts": state["attempts"] + 1}
            writes: list[Write] = [claim.put, Put(taken.key, dump_state(state), taken.etag)]
            return Plan(writes, Job(self, id, state, claim))

        return await transact(self._driver, [item.key, lease], plan)

    async def _new(self, limit: int) -> list[Job]:
        """The next jobs that nobody in the group has claimed."""
        limit = min(limit, (self._driver.capabilities.max_writes - 1) // 2)
        tries = 0
        while True:
            (item,) = await self._driver.get([self._next])
            following = 0 if item is None else number_of(item)
            found, _ = await self._log.read_part(after=following - 1, limit=limit, past_damage=True)
            entries = up_to(_CLAIM_BYTES, found)
            if not entries and item is not None:
                return []
            following = entries[-1].seq + 1 if entries else 0  # nothing yet: the group is known from now on
            jobs = []
            writes: list[Write] = [Put(self._next, str(following), If.ABSENT if item is None else item.etag)]
            for entry in entries:
                id = number(entry.seq)
                try:
                    state = {"attempts": 1, "value": load_value(entry.value, JOB, f"job {entry.seq} of {self.name!r}")}
                except CorruptDataError as error:
                    dead = dump_state(unreadable_state(error, entry.value, 0))
                    _logger.error("a job of %r went to the dead letters: %s", self.name, error)
                    writes.append(Put(key(self._dead, id), dead))
                    continue
                claim = self._claim(id)
                writes += [claim.put, Put(key(self._taken, id), dump_state(state), If.ABSENT)]
                jobs.append(Job(self, id, state, claim))
            try:
                await self._driver.apply(writes)
            except ConflictError:  # others in the group were faster
                tries += 1
                if tries == _TRIES:
                    raise
                if tries % 2 == 0:
                    await backoff(min(tries // 2, 3))
            else:
                if jobs or not entries:
                    return jobs
                tries = 0  # all of these became dead letters: look further

    def _lease(self, taken: Item) -> Key:
        return key(self._leases, split(taken.key)[-1])

    def _claim(self, id: str) -> OwnedItem:
        return OwnedItem(
            self._driver,
            key(self._leases, id),
            new_etag(),
            self._lease_ms,
            lost_message=f"the job {id} of {self.name!r} is no longer claimed by this worker: stop, because another worker may have it",
        )


async def _give_back(jobs: Sequence[Job]) -> None:
    """At once, let others claim what nobody will work on."""
    for job in jobs:
        with suppress(LeaseLostError):
            await job.retry(delay=0)


def work_wakeups(driver: Driver) -> Wakeups:
    """Return what wakes tasks that wait for jobs, for all queues of a database."""
    return Wakeups(driver, _LOGS, 0.5)


async def collect_jobs(driver: Driver) -> int:
    """Remove the jobs that every group of their queue has claimed; return how many.

    Claimed jobs have their own copy.
    """
    removed = 0
    async for listed in scan_all(driver, _QUEUES):
        queue = str(listed.value)
        try:
            # A group that starts meanwhile misses nothing that is put after its start: these numbers are all smaller.
            groups = [number_of(item) async for item in scan_all(driver, key(_GROUPS, text(queue)))]
            if groups:
                removed += await Log(driver, key(_LOGS, text(queue))).trim(min(groups))
        except CorruptDataError as error:
            log_skipped(error)
    return removed


def _below(base: Key, queue: str, group: str) -> Key:
    return key(base, text(queue), text(group))
