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

    A job that is claimed is its worker's for `lease`, and longer while he renews it. Then another may claim it,
    with `attempts` one higher; after `max_attempts` it is a dead letter. What it does outside may happen twice, where a
    worker dies after it and before `complete`. Jobs are handed out in order, those that came back first. A group begins
    with its first `claim`, at the oldest job that is still there; from then on nothing is removed that it did not claim.
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
        """Add jobs (plain JSON; models, dates and the like become that), all or none; return their ids. One driver call, when warm.

        Raises `InvalidValueError` for what would come back as something else, and `TooLargeError`.
        """
        return self._call(self._inner.put, *values)

    def claim(self, *, limit: int = 1, wait: float = 0.0) -> list[Job]:
        """Take up to `limit` jobs, waiting for up to `wait` seconds for the first of them; none where there are none.

        A claim that raises `OutcomeUnknownError` may have claimed jobs: they come back after `lease`.
        """
        return [Job(self._portal, each) for each in self._take(give_back, self._inner.claim, limit=limit, wait=wait)]

    def depth(self) -> int:
        """How many jobs this group has not claimed yet, without a scan. Those that it has claimed are not counted."""
        return self._call(self._inner.depth)

    def claimed(self) -> int:
        """How many jobs were claimed and neither completed nor given up: those that wait for another try, too."""
        return self._call(self._inner.claimed)

    def dead_letters(self, *, limit: int | None = None, cursor: str | None = None) -> Listing[DeadLetter]:
        """The jobs that were tried for the last time, oldest first."""
        return Listing(self._portal, self._inner.dead_letters(limit=limit, cursor=cursor))

    def revive(self, id: str) -> bool:
        """Let a dead letter be claimed again, as if for the first time; return whether there was one."""
        return self._call(self._inner.revive, id)

    def delete(self, id: str) -> bool:
        """Remove a dead letter for good; return whether there was one."""
        return self._call(self._inner.delete, id)


class Job(Face[AsyncJob]):
    """A job that is ours for now: complete it, or let it be tried again.

    `with job:` renews it while the block runs, completes it when the block ends well, and lets it be tried again
    later when it raises; the exception goes on.
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
        """Complete the job. Raises `LeaseLostError` if it had come back: then another worker does it, or has done it."""
        self._call(self._inner.complete)

    def retry(self, *, delay: float | timedelta | None = None, error: str | None = None) -> None:
        """Let it be tried again after `delay` (by default longer each time); after the last try it is a dead letter.

        Raises `LeaseLostError` where it had come back.
        """
        self._call(self._inner.retry, delay=delay, error=error)
