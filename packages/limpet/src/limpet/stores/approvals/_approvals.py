"""Approvals: states that wait for a person's decision, and that exactly one caller claims."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from ..._arguments import checked_arguments
from ..._errors import AlreadyClaimedError, ConflictError, CorruptDataError, LeaseLostError, NotFoundError
from ..._filters import ALL, All
from ..._run_to_end import take
from ...driver import Check, Delete, Driver, If, Key, Put, Write, key, name, new_etag, text
from ...driver.kit import backend_now_ms
from ...records import ApprovalRecord, ClaimRecord, as_record, utc_now
from ...structures import (
    ClaimedItem,
    Collection,
    Index,
    Listing,
    ModelCodec,
    OwnedItem,
    Plan,
    ReadSet,
    RepairReport,
    get_each,
    log_skipped,
    transact,
)
from .._durations import duration_to_ms
from .._formats import APPROVAL
from .._removal import Removal

__all__ = ["ApprovalStore", "Claim"]

_LIVE, _CLAIMS = name("approvals.live"), name("approvals.claim")
WEEK = timedelta(days=7)
CLAIM = timedelta(minutes=5)
_LOST = "the claim of approval {!r} has ended: get the approval again, and claim it if it is pending"
_PAGE = 100


@checked_arguments
class ApprovalStore:
    """Suspended states by id, thread and agent, newest first.

    An approval is pending until someone claims it, and claimed until that claim is completed, given back or expires.
    Then it is decided, or pending again. An approval that nobody claims in time expires, and no method returns it any
    more. Two items next to the record expire by the backend's clock: one as long as the approval can be claimed, one as
    long as a claim lasts.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._records: Collection[ApprovalRecord] = Collection(
            driver,
            "approvals",
            ModelCodec(ApprovalRecord, APPROVAL),
            id_of=lambda record: record.id,
            indexes=[
                Index(f"{phase}.{of}", partial(_indexed, phase, of))
                for phase in ("open", "decided")
                for of in ("all", "thread", "agent")
            ],
            created_at=lambda record: round(record.created_at.timestamp() * 1000),
        )

    async def create(
        self,
        thread_id: str,
        *,
        agent_name: str,
        node_name: str,
        state: Any,
        id: str | None = None,
        metadata: dict[str, Any] | None = None,
        ttl: float | timedelta = WEEK,
    ) -> ApprovalRecord:
        """Suspend a state until someone decides, for up to `ttl` (a timedelta or seconds).

        `state` is anything that can be written as JSON, including models. The thread need not be one of
        `persistence.threads`. Raises `ConflictError` if the id is taken, and `InvalidValueError`.
        """
        left = duration_to_ms(ttl)
        moment = utc_now()
        record = as_record(
            ApprovalRecord,
            {
                "id": uuid4().hex if id is None else id,
                "thread_id": thread_id,
                "agent_name": agent_name,
                "node_name": node_name,
                "state": state,
                "metadata": metadata,
                "created_at": moment,
                "expires_at": moment + timedelta(milliseconds=left),
            },
        )
        at, live, _ = self._keys(record.id)

        def plan(reads: ReadSet) -> Plan[ApprovalRecord]:
            if reads[at] is not None:
                raise ConflictError(
                    f"the approval {record.id!r} already exists: choose another id", items={at: reads[at]}
                )
            return Plan([Put(live, "", None, left), *self._records.plan_save(reads, record)], record)

        return await transact(self._driver, [at], plan, assume={at: None})

    async def get(self, id: str) -> ApprovalRecord | None:
        """Return the approval, or `None` if it does not exist or has expired. One driver call."""
        keys = self._keys(id)
        return self._read(id, dict(zip(keys, await self._driver.get(keys), strict=True)))

    async def exists(self, id: str) -> bool:
        """Return whether there is such an approval that has not expired. One driver call."""
        return await self.get(id) is not None

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
        phase = "decided" if decided else "open"
        index, value = "all", "all"
        if agent_name is not ALL:
            index, value = "agent", agent_name
        if thread_id is not ALL:
            index, value = "thread", thread_id

        async def fetch(
            position: str | None, count: int
        ) -> tuple[Sequence[ApprovalRecord | CorruptDataError], str | None]:
            count = min(count, self._driver.capabilities.max_keys // 3)
            page = await self._records.find(f"{phase}.{index}", value, limit=count, cursor=position).with_errors()
            keys = [each for record in page if isinstance(record, ApprovalRecord) for each in self._keys(record.id)]
            reads = dict(zip(keys, await get_each(self._driver, keys) if keys else [], strict=True))
            shown: list[ApprovalRecord | CorruptDataError] = []
            for record in page:
                if isinstance(record, CorruptDataError):
                    shown.append(record)
                elif agent_name in (ALL, record.agent_name):
                    now = self._read(record.id, reads)
                    if now is not None and (now.status == "decided") == decided:
                        shown.append(now)
            return shown, page.cursor

        return Listing(["approvals", phase, str(thread_id), str(agent_name)], fetch, limit=limit, cursor=cursor)

    async def claim(
        self,
        id: str,
        *,
        by: str,
        decision: str,
        reason: str | None = None,
        thread_id: str | All = ALL,
        agent_name: str | All = ALL,
        lease: float | timedelta = CLAIM,
    ) -> Claim:
        """Claim an approval and record a decision. Of any number of callers, exactly one succeeds. Two driver calls.

        The claim lasts for `lease` (a timedelta or seconds) unless it is renewed; after that, or when it is given back,
        the approval can be claimed again. `thread_id` and `agent_name`, if given, must be the approval's. Raises
        `AlreadyClaimedError`, which names the winner, and `NotFoundError` if the approval does not exist or has
        expired.
        """
        left = duration_to_ms(lease, "lease")
        _, live, claimed = keys = self._keys(id)
        said = as_record(ClaimRecord, {"by": by, "decision": decision, "reason": reason, "claimed_at": utc_now()})

        def plan(reads: ReadSet) -> Plan[Claim]:
            record = self._read(id, reads)
            if record is None or thread_id not in (ALL, record.thread_id) or agent_name not in (ALL, record.agent_name):
                raise NotFoundError(
                    f"there is no approval {id!r}{_of(thread_id, agent_name)}: it never existed, or it has expired"
                )
            if record.status != "pending":
                assert record.claim is not None
                winner = record.claim
                raise AlreadyClaimedError(
                    id, by=winner.by, decision=winner.decision, decided=record.status == "decided"
                )
            taken = record.model_copy(update={"attempts": record.attempts + 1, "claim": said, "status": "claimed"})
            owned = OwnedItem(self._driver, claimed, new_etag(), left, lost_message=_LOST.format(id))
            writes = [owned.put, Check(live, If.PRESENT), *self._records.plan_save(reads, taken)]
            return Plan(writes, Claim(self, taken, owned))

        return await take(transact(self._driver, keys, plan), Claim.give_back)

    async def delete(self, id: str) -> bool:
        """Delete an approval, claimed or not; return whether there was one. Its claim can no longer be completed."""
        removal = self._removal(id)

        def plan(reads: ReadSet) -> Plan[bool]:
            try:
                there = self._read(id, reads) is not None
            except CorruptDataError:
                there = True
            return Plan(removal.plan(reads), there)

        return await transact(self._driver, removal.keys, plan)

    async def purge(self) -> int:
        """Delete the approvals that expired before anyone claimed them; return how many.

        `persistence.purge()` calls this.
        """
        removed = 0
        cursor, more = None, True
        while more:
            page = await self._records.find("open.all", "all", limit=_PAGE, cursor=cursor).skip_unreadable(log_skipped)
            keys = [each for record in page for each in self._keys(record.id)]
            reads = dict(zip(keys, await self._driver.get(keys) if keys else [], strict=True))
            for record in page:
                removed += self._read(record.id, reads) is None and await self._expire(record.id)
            cursor, more = page.cursor, page.cursor is not None
        return removed

    async def prune(self, *, max_age: float | timedelta) -> int:
        """Delete the approvals that were decided longer than `max_age` ago, by the backend's clock; return how many."""
        limit = await backend_now_ms(self._driver) - duration_to_ms(max_age, "max_age")
        removed = 0
        async for record in self._records.find("decided.all", "all").skip_unreadable(log_skipped):
            (item,) = await self._driver.get([self._records.key(record.id)], values=False)
            if item is not None and item.updated_at < limit:
                removed += await self.delete(record.id)
        return removed

    async def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Compare every record with its index entries and repair these; with `dry_run`, only count what is wrong.

        Only needed after something else changed the data.
        """
        return await self._records.repair(dry_run=dry_run)

    # For threads, which approvals belong to.

    async def removals(self, thread_id: str) -> Sequence[Removal]:
        """Return how to remove every approval of a thread, including expired and decided ones."""
        ids = [id for phase in ("open", "decided") for id in await self._records.ids(f"{phase}.thread", thread_id)]
        return [self._removal(id) for id in ids]

    # Implementation.

    def _keys(self, id: str) -> tuple[Key, Key, Key]:
        """Return three keys: the record, the item that exists while it can be claimed, and the claim."""
        return self._records.key(id), key(_LIVE, text(id)), key(_CLAIMS, text(id))

    def _read(self, id: str, reads: ReadSet) -> ApprovalRecord | None:
        """Combine the record and the two items next to it."""
        at, live, claimed = self._keys(id)
        record = self._records.decode(reads[at], id)
        if record is None or record.decided_at is not None:
            return record
        if reads[claimed] is not None:
            return record.model_copy(update={"status": "claimed"})
        return record.model_copy(update={"status": "pending"}) if reads[live] is not None else None

    async def _expire(self, id: str) -> bool:
        keys = self._keys(id)

        def plan(reads: ReadSet) -> Plan[bool]:
            # Neither of the two items exists, and nobody can bring one back, so the record's etag is enough.
            if reads[keys[0]] is None or self._read(id, reads) is not None:
                return Plan([], False)
            return Plan(self._records.plan_delete(reads, id), True)

        return await transact(self._driver, keys, plan)

    def _removal(self, id: str) -> Removal:
        at, live, claimed = self._keys(id)

        def plan(reads: ReadSet) -> list[Write]:
            gone = self._records.plan_delete(reads, id)
            return [*gone, Delete(live), Delete(claimed)] if gone else []

        return Removal([at, live, claimed], plan)


class Claim(ClaimedItem):
    """A claimed approval: complete it, or give it back.

    `async with await approvals.claim(...) as claim:` renews it while the block runs, completes it when the block
    succeeds, and gives it back if it raises.
    """

    def __init__(self, store: ApprovalStore, approval: ApprovalRecord, owned: OwnedItem) -> None:
        super().__init__(owned)
        self.approval: ApprovalRecord = approval
        """The approval as claimed, with `attempts` and the decision."""
        self._store = store

    def __repr__(self) -> str:
        return f"Claim({self.approval!r})"

    async def complete(self) -> ApprovalRecord:
        """Note that the decision has been carried out; return the approval, which is now decided for good.

        A claim that has expired is completed too, as long as nobody else has claimed the approval since: what was
        decided has been carried out. Raises `LeaseLostError` if somebody has.
        """
        if not self._ended or self.approval.status != "decided":
            decided = {"decided_at": utc_now(), "status": "decided"}
            self.approval = await self._change(decided, also=[Delete(self._store._keys(self.approval.id)[1])])
        return self.approval

    async def give_back(self) -> None:
        """Let others claim it. Does nothing if the claim has ended already."""
        with suppress(LeaseLostError):
            self.approval = await self._change({"status": "pending"}, also=[])

    async def _change(self, change: dict[str, Any], also: Sequence[Write]) -> ApprovalRecord:
        id = self.approval.id
        at, _, claimed = keys = self._store._keys(id)

        def plan(reads: ReadSet) -> Plan[ApprovalRecord]:
            lease, record = reads[claimed], self._store._records.decode(reads[at], id)
            if record is not None and record.decided_at is not None and record.attempts == self.approval.attempts:
                return Plan([], record)  # already done, but the answer was lost
            nobody_since = lease is None and record is not None and record.attempts == self.approval.attempts
            if record is None or not (nobody_since or self._claim.is_ours(lease)):
                raise self._claim.lost_error()
            ended = record.model_copy(update=change)
            # Whoever claims it changes the record, so the etag of that stands for a lease that has expired.
            released = [] if lease is None else [Delete(claimed, lease.etag)]
            return Plan([*released, *also, *self._store._records.plan_save(reads, ended)], ended)

        return await self._end(lambda: transact(self._store._driver, keys, plan))

    async def _block_ended(self, error: BaseException | None) -> None:
        await (self.complete() if error is None else self.give_back())


def _indexed(phase: str, of: str, record: ApprovalRecord) -> str | None:
    if (record.decided_at is not None) != (phase == "decided"):
        return None
    values: dict[str, str] = {"all": "all", "thread": record.thread_id, "agent": record.agent_name}
    return values[of]


def _of(thread_id: str | All, agent_name: str | All) -> str:
    named = [f"of the thread {thread_id!r}"] * (thread_id is not ALL)
    named += [f"of the agent {agent_name!r}"] * (agent_name is not ALL)
    return "".join(f" {part}" for part in named)
