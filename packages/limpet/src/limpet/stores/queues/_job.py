"""A job that a worker has claimed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..._arguments import checked_arguments
from ..._errors import LeaseLostError
from ...driver import Delete, Etag, Key, Put, Write, key
from ...structures import ClaimedItem, OwnedItem, Plan, ReadSet, transact
from .._durations import duration_to_ms
from ._job_documents import dump_state, load_state, shown_error

if TYPE_CHECKING:
    from ._jobs import WorkQueue

__all__ = ["Job"]

_LONGEST_PAUSE = 300.0


@checked_arguments
class Job(ClaimedItem):
    """A claimed job: complete it, or let it be tried again.

    `async with job:` renews it while the block runs, completes it when the block succeeds, and lets it be tried again
    later if the block raises; the exception propagates.
    """

    def __init__(self, queue: WorkQueue, id: str, state: dict[str, Any], claim: OwnedItem) -> None:
        super().__init__(claim)
        self.id = id
        self.value: Any = state["value"]
        self.attempts: int = state["attempts"]
        """How many times it was claimed, including this time."""
        self._queue = queue
        self._lease = claim.put.key

    def __repr__(self) -> str:
        return f"Job(id={self.id!r}, value={self.value!r}, attempts={self.attempts})"

    async def complete(self) -> None:
        """Complete the job, also after its lease has expired, as long as nobody else has claimed it since.

        Raises `LeaseLostError` if somebody has: then another worker does it, or has done it.
        """
        await self._end(self._complete)

    async def _complete(self) -> None:
        try:
            await self._claim.write(lambda etag: [Delete(self._lease, etag), Delete(self._at)])
        except LeaseLostError:
            if not await transact(self._queue._driver, [self._lease, self._at], self._complete_late):
                raise

    def _complete_late(self, reads: ReadSet) -> Plan[bool]:
        taken = reads[self._at]
        if reads[self._lease] is not None or taken is None or load_state(taken)["attempts"] != self.attempts:
            return Plan([], False)
        # Whoever claims it changes it, so its etag also stands for the lease.
        return Plan([Delete(self._at, taken.etag)], True)

    async def retry(self, *, delay: float | timedelta | None = None, error: str | None = None) -> None:
        """Let it be tried again after `delay` (default: longer each time); after the last attempt it is a dead letter.

        Raises `LeaseLostError` if it had come back.
        """
        if delay is None:
            delay = min(_LONGEST_PAUSE, 2.0 ** (self.attempts - 1))
        pause = None if delay in (0, timedelta()) else duration_to_ms(delay, "delay")
        written = dump_state({"attempts": self.attempts, "value": self.value, "error": shown_error(error)})

        def plan(etag: Etag) -> list[Write]:
            if self.attempts >= self._queue._max_attempts:
                dead = key(self._queue._dead, self.id)
                return [Delete(self._lease, etag), Delete(self._at), Put(dead, written)]
            ends = Delete(self._lease, etag) if pause is None else Put(self._lease, "pause", etag, pause)
            return [ends, Put(self._at, written)]

        await self._end(lambda: self._claim.write(plan))

    @property
    def _at(self) -> Key:
        return key(self._queue._taken, self.id)

    async def _block_ended(self, error: BaseException | None) -> None:
        if error is None:
            await self.complete()
        else:
            stopped = not isinstance(error, Exception)  # cancelled: not the job's fault
            await self.retry(delay=0 if stopped else None, error=f"{type(error).__name__}: {error}")
