"""The work queue, without `await`. Written by scripts/generate_sync.py: change the asynchronous API, and write it anew."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from .._anywhere import give_back
from ..stores import DeadLetter
from ..stores import Job as AsyncJob
from ..stores import WorkQueue as AsyncWorkQueue
from ._face import Face, Signal
from ._listing import Listing

__all__ = ["Job", "WorkQueue"]


class WorkQueue(Face[AsyncWorkQueue]):
    """Jobs by name, each done once by each group of workers. `persistence.work(name)` makes one; that costs nothing.

    A claimed job belongs to its worker for `lease`, and longer if the worker renews it. After that, another worker can
    claim it, with `attempts` increased by one; after `max_attempts` it becomes a dead letter. External effects of a job
    can happen twice, if a worker dies before `complete`. Jobs are handed out in order, those that came back first. A
    group starts with its first `claim`, at the oldest job that still exists; from then on, no job is removed that it
    has not claimed.
    """

    @property
    def name(self) -> str:
        """The queue's name."""
        return self._inner.name

    @property
    def group(self) -> str:
        """The group that it claims for."""
        return self._inner.group

    def put(self, *values: Any) -> list[str]:
        """Add jobs (JSON; models and dates are converted), all or none; return their ids. One driver call when warm.

        Raises `InvalidValueError` for a value that would come back changed, and `TooLargeError`.
        """
        return self._call(self._inner.put, *values)

    def claim(self, *, limit: int = 1, wait: float = 0.0) -> list[Job]:
        """Claim up to `limit` jobs, waiting for up to `wait` seconds for the first; return `[]` if there is none.

        If this raises `OutcomeUnknownError`, it may have claimed jobs: they come back after `lease`.
        """
        return [Job(self._portal, each) for each in self._take(give_back, self._inner.claim, limit=limit, wait=wait)]

    def depth(self) -> int:
        """Return how many jobs this group has not claimed yet, without a scan."""
        return self._call(self._inner.depth)

    def claimed(self) -> int:
        """Return how many jobs are claimed, not completed or given up, including those waiting for another attempt."""
        return self._call(self._inner.claimed)

    def dead_letters(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[DeadLetter]:
        """List the jobs that failed their last attempt, oldest first."""
        return Listing(self._portal, self._inner.dead_letters(limit=limit, cursor=cursor))

    def revive(self, id: str) -> bool:
        """Let a dead letter be claimed again, as if for the first time; return whether there was one."""
        return self._call(self._inner.revive, id)

    def delete(self, id: str) -> bool:
        """Delete a dead letter for good; return whether there was one."""
        return self._call(self._inner.delete, id)


class Job(Face[AsyncJob]):
    """A claimed job: complete it, or let it be tried again.

    `with job:` renews it while the block runs, completes it when the block succeeds, and lets it be tried again
    later if the block raises; the exception propagates.
    """

    @property
    def id(self) -> str:
        """The job's id."""
        return self._inner.id

    @property
    def value(self) -> Any:
        """What was put."""
        return self._inner.value

    @property
    def attempts(self) -> int:
        """How often it was claimed, this time included."""
        return self._inner.attempts

    @property
    def lost(self) -> Signal:
        """Set as soon as it is known that the claim has expired."""
        return Signal(self._portal, self._inner.lost)

    def renew(self) -> None:
        """Extend the claim by its full duration from now. Raises `LeaseLostError`."""
        self._call(self._inner.renew)

    def __enter__(self) -> Self:
        self._call(self._inner.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._inner.__aexit__, kind, error, trace)

    def complete(self) -> None:
        """Complete the job, also after its lease has expired, as long as nobody else has claimed it since.

        Raises `LeaseLostError` if somebody has: then another worker does it, or has done it.
        """
        self._call(self._inner.complete)

    def retry(self, *, delay: float | timedelta | None = None, error: str | None = None) -> None:
        """Let it be tried again after `delay` (default: longer each time); after the last attempt it is a dead letter.

        Raises `LeaseLostError` if it had come back.
        """
        self._call(self._inner.retry, delay=delay, error=error)
