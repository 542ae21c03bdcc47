"""A lock across processes that ends by itself, with a fence for whatever its holder writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import ceil
from random import uniform
from time import monotonic

from .._errors import ConflictError, InvalidValueError, LeaseLostError, LeaseTimeoutError
from ..driver import Check, Delete, Driver, Etag, If, Item, Key, Put, key, name, new_etag
from ..driver._judge import count_of
from ._attempt import Known, Plan, attempt

__all__ = ["Grant", "Lease"]

_POLL = 0.25
_TICK = 0.001
"""The backend's clock cuts off what is below a millisecond, so an item may go that much before its time."""


@dataclass(slots=True)
class Grant:
    """One holding of a lease, from `acquire` to `release`."""

    token: int
    """Higher with every acquisition, for systems outside that compare tokens."""
    check: Check
    """Put it into every batch that the lease protects: refused once somebody else has acquired the lease."""
    ttl: float
    """Seconds that an acquisition or a renewal lasts."""
    _etag: Etag
    _until: float
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set as soon as a renewal finds that the lease is gone."""

    @property
    def left(self) -> float:
        """Seconds for which the holder may trust it, by this process's monotonic clock."""
        return 0.0 if self.lost.is_set() else max(0.0, self._until - monotonic())

    def ensure(self) -> None:
        """Raise `LeaseLostError` unless the lease is still held."""
        if not self.left:
            raise LeaseLostError("the lease has ended: stop, read again, and acquire it anew")


class Lease:
    """A named lock at `base`. Making the object costs nothing.

    `base` holds the owner and expires with the ttl, by the backend's clock; the fence `base!fence` outlives it and is
    written only by who acquires. A holder trusts the lease until the time of *sending* plus the ttl, so it never
    believes in it for longer than the backend does, however late the answer came.
    """

    def __init__(self, driver: Driver, base: Key) -> None:
        self._driver = driver
        self.base = base
        self.fence = key(base, name("fence"))

    async def acquire(self, *, ttl: float = 30.0, timeout: float | None = None) -> Grant:
        """Take the lease, waiting for up to `timeout` seconds (`None`: for as long as it takes, 0: not at all).

        `ttl` is in seconds. Two driver calls when nobody holds it. Raises `LeaseTimeoutError`.
        """
        if ttl <= 0:
            raise InvalidValueError(f"ttl is {ttl}: a lease lasts for more than 0 seconds")
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            answer = await self._uncancelled(ttl)
            if isinstance(answer, Grant):
                return answer
            pause = uniform(0.5, 1.0) * min(_POLL, (answer.ttl_ms or 1000) / 1000)
            if deadline is not None:
                left = deadline - monotonic()
                if left <= 0:
                    raise LeaseTimeoutError(f"the lease at {self.base!r} is held by somebody else: try again later")
                pause = min(pause, left)
            await asyncio.sleep(pause)

    async def renew(self, grant: Grant) -> None:
        """Let the lease last for another ttl from now. Raises `LeaseLostError` where it has ended."""
        sent = monotonic()
        put = Put(self.base, str(grant.token), grant._etag, ceil(grant.ttl * 1000))
        try:
            await self._driver.apply([put])
        except ConflictError as conflict:
            grant.lost.set()
            raise LeaseLostError(
                "the lease ended before it was renewed: stop, read again, acquire it anew"
            ) from conflict
        grant._etag, grant._until = put.etag, sent + grant.ttl - _TICK

    async def release(self, grant: Grant) -> bool:
        """Give the lease back; answer whether it was still held."""
        grant._until = 0.0
        try:
            await self._driver.apply([Delete(self.base, grant._etag)])
        except ConflictError:
            return False
        return True

    @asynccontextmanager
    async def hold(self, *, ttl: float = 30.0, timeout: float | None = None) -> AsyncIterator[Grant]:
        """Hold the lease for a block, renewed every third of the ttl, released at the end, cancelled or not.

        The block is not interrupted when the lease is lost: it protects its writes with `grant.check`, or looks at
        `grant.lost`.
        """
        grant = await self.acquire(ttl=ttl, timeout=timeout)
        keeper = asyncio.create_task(self._keep(grant))
        try:
            yield grant
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await asyncio.shield(asyncio.create_task(self.release(grant)))

    async def _keep(self, grant: Grant) -> None:
        while True:
            await asyncio.sleep(grant.ttl / 3)
            try:
                await self.renew(grant)
            except LeaseLostError:
                return
            except ConnectionError:
                continue  # unknown or unavailable: the next renewal, or the end of the ttl, decides

    async def _uncancelled(self, ttl: float) -> Grant | Item:
        trying = asyncio.create_task(self._try(ttl))
        try:
            return await asyncio.shield(trying)
        except asyncio.CancelledError:
            # What was sent may succeed: wait for the answer and give back what nobody will use.
            (answer,) = await asyncio.gather(trying, return_exceptions=True)
            if isinstance(answer, Grant):
                await self.release(answer)
            raise

    async def _try(self, ttl: float) -> Grant | Item:
        etag = new_etag()
        sent = 0.0

        def plan(known: Known) -> Plan[Grant | Item]:
            nonlocal sent
            held, fence = known[self.base], known[self.fence]
            if held is not None:
                return Plan([], held)
            token = 1 + ((count_of(fence.value) or 0) if fence is not None else 0)
            own = Put(self.base, str(token), If.ABSENT, ceil(ttl * 1000), etag)
            mark = Put(self.fence, str(token), If.ABSENT if fence is None else fence.etag)
            sent = monotonic()
            return Plan([own, mark], Grant(token, Check(self.fence, mark.etag), ttl, etag, sent + ttl - _TICK))

        return await attempt(self._driver, [self.base, self.fence], plan)
