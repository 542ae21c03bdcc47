"""Approvals, without `await`. Written by scripts/generate_sync.py: change the asynchronous API, and write it anew."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from .._anywhere import give_back
from .._filters import ALL, All
from ..records import ApprovalRecord
from ..stores import ApprovalStore as AsyncApprovalStore
from ..stores import Claim as AsyncClaim
from ..structures import RepairReport
from ._face import Face, Signal
from ._listing import Listing

__all__ = ["ApprovalStore", "Claim"]


class ApprovalStore(Face[AsyncApprovalStore]):
    """Suspended states by id, thread and agent, newest first.

    An approval is pending until someone claims it, and claimed until that claim is completed, given back or expires.
    Then it is decided, or pending again. An approval that nobody claims in time expires, and no method returns it any
    more. Two items next to the record expire by the backend's clock: one as long as the approval can be claimed, one as
    long as a claim lasts.
    """

    def create(
        self,
        thread_id: str,
        *,
        agent_name: str,
        node_name: str,
        state: Any,
        id: str | None = None,
        metadata: dict[str, Any] | None = None,
        ttl: float | timedelta = timedelta(days=7),
    ) -> ApprovalRecord:
        """Suspend a state until someone decides, for up to `ttl` (a timedelta or seconds).

        `state` is anything that can be written as JSON, including models. The thread need not be one of
        `persistence.threads`. Raises `ConflictError` if the id is taken, and `InvalidValueError`.
        """
        return self._call(
            self._inner.create,
            thread_id,
            agent_name=agent_name,
            node_name=node_name,
            state=state,
            id=id,
            metadata=metadata,
            ttl=ttl,
        )

    def get(self, id: str) -> ApprovalRecord | None:
        """Return the approval, or `None` if it does not exist or has expired. One driver call."""
        return self._call(self._inner.get, id)

    def exists(self, id: str) -> bool:
        """Return whether there is such an approval that has not expired. One driver call."""
        return self._call(self._inner.exists, id)

    def list(
        self,
        *,
        thread_id: str | All = ALL,
        agent_name: str | All = ALL,
        decided: bool = False,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Listing[ApprovalRecord]:
        """List the approvals of a thread, an agent, both, or all, newest first: the open ones, or those decided."""
        return Listing(
            self._portal,
            self._inner.list(thread_id=thread_id, agent_name=agent_name, decided=decided, limit=limit, cursor=cursor),
        )

    def claim(
        self,
        id: str,
        *,
        by: str,
        decision: str,
        reason: str | None = None,
        thread_id: str | All = ALL,
        agent_name: str | All = ALL,
        lease: float | timedelta = timedelta(minutes=5),
    ) -> Claim:
        """Claim an approval and record a decision. Of any number of callers, exactly one succeeds. Two driver calls.

        The claim lasts for `lease` (a timedelta or seconds) unless it is renewed; after that, or when it is given back,
        the approval can be claimed again. `thread_id` and `agent_name`, if given, must be the approval's. Raises
        `AlreadyClaimedError`, which names the winner, and `NotFoundError` if the approval does not exist or has
        expired.
        """
        return Claim(
            self._portal,
            self._take(
                give_back,
                self._inner.claim,
                id,
                by=by,
                decision=decision,
                reason=reason,
                thread_id=thread_id,
                agent_name=agent_name,
                lease=lease,
            ),
        )

    def delete(self, id: str) -> bool:
        """Delete an approval, claimed or not; return whether there was one. Its claim can no longer be completed."""
        return self._call(self._inner.delete, id)

    def purge(self) -> int:
        """Delete the approvals that expired before anyone claimed them; return how many.

        `persistence.purge()` calls this.
        """
        return self._call(self._inner.purge)

    def prune(self, *, max_age: float | timedelta) -> int:
        """Delete the approvals that were decided longer than `max_age` ago, by the backend's clock; return how many."""
        return self._call(self._inner.prune, max_age=max_age)

    def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Compare every record with its index entries and repair these; with `dry_run`, only count what is wrong.

        Only needed after something else changed the data.
        """
        return self._call(self._inner.repair, dry_run=dry_run)


class Claim(Face[AsyncClaim]):
    """A claimed approval: complete it, or give it back.

    `with approvals.claim(...) as claim:` renews it while the block runs, completes it when the block
    succeeds, and gives it back if it raises.
    """

    @property
    def approval(self) -> ApprovalRecord:
        """As claimed, with `attempts` and the decision."""
        return self._inner.approval

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

    def complete(self) -> ApprovalRecord:
        """Note that the decision has been carried out; return the approval, which is now decided for good.

        A claim that has expired is completed too, as long as nobody else has claimed the approval since: what was
        decided has been carried out. Raises `LeaseLostError` if somebody has.
        """
        return self._call(self._inner.complete)

    def give_back(self) -> None:
        """Let others claim it. Does nothing if the claim has ended already."""
        self._call(self._inner.give_back)
