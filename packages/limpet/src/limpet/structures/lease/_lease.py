"""A lock between processes that expires, with a fence for its owner's writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from math import ceil
from random import uniform
from time import monotonic
from weakref import WeakKeyDictionary

from ..._caller import Caller, caller
from ..._errors import ConflictError, InvalidValueError, LeaseLostError, LeaseTimeoutError, NestedLeaseError
from ..._run_to_end import run_to_end, take
from ...driver import Check, Delete, Driver, If, Item, Key, Put, Write, fence_key
from ...driver.kit import counter_value
from .._keyed_locks import KeyedLocks
from .._transact import COUNTER_TTL_MS, ReadSet
from ._owned_item import OwnedItem

__all__ = ["LeaseHandle", "Lease"]

_LOST = "the lease expired before it was renewed: stop, acquire it again, and read again"

_FIRST_POLL, _LAST_POLL = 0.002, 0.05
"""Return the seconds between checks of a taken lease: few at first, for short blocks, more for long waits."""


@dataclass(slots=True)
class LeaseHandle:
    """A lease that was acquired, until it is released."""

    token: int
    """Higher with every acquisition, for external systems that compare tokens."""
    check: Check
    """Include this in every batch that the lease protects: it is refused once someone else has acquired the lease."""
    ttl: float
    """Seconds that an acquisition or a renewal lasts."""
    reads: ReadSet
    """The items at the keys that `acquire` was asked to read, at that moment."""
    _owned: OwnedItem
    saves: Sequence[Write] = ()
    """What `hold` writes together with the release, in one batch, if its block ends without an exception."""

    @property
    def lost(self) -> asyncio.Event:
        """Set as soon as a renewal finds that the lease is gone."""
        return self._owned.lost

    @property
    def left(self) -> float:
        """Seconds for which the owner can rely on the lease, by this process's monotonic clock."""
        return self._owned.left

    def ensure(self) -> None:
        """Raise `LeaseLostError` unless the lease is still ours."""
        if not self.left:
            raise LeaseLostError("the lease has expired: stop, acquire it again, and read again")


class Lease:
    """A named lock at `base`. Creating the object does no I/O.

    `base` contains the owner and expires with the ttl, by the backend's clock. The fence `base!fence` outlives it and
    is only written when the lease is acquired. An owner relies on the lease until the time of *sending* plus the ttl,
    so never longer than the backend does, however late the answer came.
    """

    def __init__(self, driver: Driver, base: Key) -> None:
        self._driver = driver
        self.base = base
        self.fence: Key = fence_key(base)
        self._left: ReadSet | None = None

    async def acquire(
        self, *, ttl: float = 30.0, timeout: float | None = None, reading: Sequence[Key] = ()
    ) -> LeaseHandle:
        """Acquire the lease, waiting for up to `timeout` seconds (`None`: no limit, 0: do not wait).

        `ttl` is in seconds. This takes two driver calls if nobody holds the lease, one if this object was also the last
        to `hold` it. `handle.reads` contains the items at the keys of `reading`, which only owners write. Raises
        `LeaseTimeoutError`.
        """
        if ttl <= 0:
            raise InvalidValueError(f"ttl is {ttl}: a lease must last for more than 0 seconds")
        deadline = None if timeout is None else monotonic() + timeout
        poll = _FIRST_POLL
        while True:
            found = await self._uncancelled(ttl, reading)
            if isinstance(found, LeaseHandle):
                return found
            pause = uniform(0.5, 1.0) * min(poll, (found.ttl_ms or 1000) / 1000)
            poll = min(_LAST_POLL, 1.5 * poll)
            if deadline is not None:
                left = deadline - monotonic()
                if left <= 0:
                    raise self._timeout()
                pause = min(pause, left)
            await asyncio.sleep(pause)

    async def renew(self, handle: LeaseHandle) -> None:
        """Extend the lease by another ttl from now. Raises `LeaseLostError` if it has expired."""
        await handle._owned.renew()

    async def release(self, handle: LeaseHandle, *writes: Write) -> bool:
        """Release the lease, and write in the same batch. Return whether it was still ours.

        If not, nothing is written. With `writes`, an expired lease is still ours until someone else acquires it.
        """
        handle._owned.release()
        check = [] if any(write.key == self.fence for write in writes) else [handle.check]
        try:
            await self._driver.apply([*check, *writes, Delete(self.base, None if writes else If.PRESENT)])
        except ConflictError:
            return False
        return True

    def fading_fence(self, handle: LeaseHandle) -> Put:
        """Return a write for `handle.saves` once what the lease protects is deleted: the fence expires in a month."""
        return Put(self.fence, str(handle.token), handle.check.cond, COUNTER_TTL_MS)

    @asynccontextmanager
    async def hold(
        self, *, ttl: float = 30.0, timeout: float | None = None, reading: Sequence[Key] = ()
    ) -> AsyncIterator[LeaseHandle]:
        """Hold the lease for a block. It is renewed every third of the ttl and released at the end, even if cancelled.

        The tasks of a process queue up in order. A task that already holds the lease gets a `NestedLeaseError`. The
        block is not interrupted when the lease is lost: it protects its writes with `handle.check`, looks at
        `handle.lost`, or leaves them in `handle.saves`. These are written when the block succeeds; `LeaseLostError` is
        raised if someone else has acquired the lease since.
        """
        queue = _QUEUES.setdefault(self._driver, _Queue())
        if queue.owners.get(self.base) is caller():
            raise NestedLeaseError(f"this task already holds the lease at {self.base!r}: it would wait for itself")
        started = monotonic()
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(timeout):
                    await stack.enter_async_context(queue.locks.hold(self.base))
            except TimeoutError as error:
                raise self._timeout() from error
            queue.owners[self.base] = caller()
            stack.callback(queue.owners.pop, self.base)
            if timeout is not None:
                timeout = max(0.0, timeout - (monotonic() - started))
            handle = await self.acquire(ttl=ttl, timeout=timeout, reading=reading)
            keeper = asyncio.create_task(handle._owned.keep_alive())
            try:
                yield handle
            except BaseException:
                with suppress(ConnectionError):  # it expires, and the block's own error matters more
                    await run_to_end(self._end(handle, keeper, ()))
                raise
            await run_to_end(self._end(handle, keeper, handle.saves))

    async def _end(self, handle: LeaseHandle, keeper: asyncio.Task[None], writes: Sequence[Write]) -> None:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        handle._owned.warn_if_it_ran_out()
        released = False
        try:
            released = await self.release(handle, *writes)
        finally:
            if writes and not released:
                with suppress(ConnectionError):  # it expires
                    await self.release(handle)
        if not released:
            if writes:
                raise LeaseLostError(
                    "the lease ended, and someone else acquired it or changed what it protects: nothing was saved; start again"
                )
            return
        left = dict(handle.reads)
        left |= {write.key: _left_by(write) for write in writes if write.key in left and not isinstance(write, Check)}
        # What is absent cannot be checked if it is assumed again.
        self._left = left if all(item for at, item in left.items() if at != self.base) else None

    async def _uncancelled(self, ttl: float, reading: Sequence[Key]) -> LeaseHandle | Item:
        # What was sent may have succeeded: when cancelled, give back what nobody will use.
        return await take(self._try(ttl, reading), self._give_back)

    async def _give_back(self, taken: LeaseHandle | Item) -> None:
        if isinstance(taken, LeaseHandle):
            await self.release(taken)

    async def _try(self, ttl: float, reading: Sequence[Key]) -> LeaseHandle | Item:
        keys = [self.base, self.fence, *reading]
        assumed, self._left = self._left, None
        if assumed is not None and assumed.keys() == set(keys):
            reads = dict(assumed)
        else:
            reads = dict(zip(keys, await self._driver.get(keys), strict=True))
        while True:
            theirs, fence = reads[self.base], reads[self.fence]
            if theirs is not None:
                return theirs
            token = 1 + ((counter_value(fence.value) or 0) if fence is not None else 0)
            own = OwnedItem(self._driver, self.base, str(token), ceil(ttl * 1000), lost_message=_LOST)
            mark = Put(self.fence, str(token), If.ABSENT if fence is None else fence.etag)
            same = [Check(at, item.etag) for at in reading if (item := reads[at]) is not None]
            sent = monotonic()
            try:
                await self._driver.apply([own.put, mark, *same])
            except ConflictError as conflict:
                reads.update(conflict.items)
                # Nothing proves that what was absent still is, and a conflict may not include every item.
                stale = [at for at in reading if reads[at] is None]
                stale += [at for at in conflict.keys if at not in conflict.items]
                if stale and reads[self.base] is None:
                    reads = dict(zip(keys, await self._driver.get(keys), strict=True))
            else:
                reads[self.fence] = Item(self.fence, mark.value, mark.etag, 0)
                own.created(sent)
                return LeaseHandle(token, Check(self.fence, mark.etag), ttl, reads, own)

    def _timeout(self) -> LeaseTimeoutError:
        return LeaseTimeoutError(f"the lease at {self.base!r} is held by someone else: try again later")


@dataclass(frozen=True, slots=True)
class _Queue:
    """The tasks of this process that wait for or hold a lease, for each lease on one driver."""

    locks: KeyedLocks = field(default_factory=KeyedLocks)
    owners: dict[Key, Caller] = field(default_factory=dict)


_QUEUES: WeakKeyDictionary[Driver, _Queue] = WeakKeyDictionary()


def _left_by(write: Put | Delete) -> Item | None:
    return Item(write.key, write.value, write.etag, 0) if isinstance(write, Put) else None
