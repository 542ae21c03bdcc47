"""Transactions: read, plan, commit. After a conflict, plan again with the current items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NoReturn, TypeAlias, TypeVar

from .._errors import ConflictError, InvalidValueError
from ..driver import Driver, If, Item, Key, Put, Write
from ..driver.kit import backoff
from ._once import Receipt, Repeated
from ._reading import get_each

__all__ = ["COUNTER_TTL_MS", "BatchPart", "Plan", "ReadSet", "transact"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

ReadSet: TypeAlias = Mapping[Key, Item | None]
"""What a plan knows of the database: at each key an item, or `None` if there is none."""

_TRIES = 200
_PATIENCE = 8
COUNTER_TTL_MS = 30 * 24 * 60 * 60 * 1000
"""How long a counter is kept after what it counted for is deleted, so that a new one of that name continues it."""
_RECEIPT_TTL_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Plan(Generic[R_co]):
    """What to write, and what to return once it is written. If there are no writes, nothing is sent."""

    writes: Sequence[Write]
    result: R_co


@dataclass(frozen=True, slots=True)
class BatchPart:
    """Writes of an application's own that a store puts into its batch, so that both happen or neither."""

    keys: Sequence[Key]
    """What the writes depend on."""
    plan: Callable[[ReadSet], Sequence[Write]]
    """Returns the writes, with a condition on every item that they rely on. A plain function that may run several times."""

    @classmethod
    def of(cls, also: BatchPart | None) -> BatchPart:
        """Return the part itself, or an empty one. Raises `InvalidValueError` for anything else."""
        if also is None:
            return cls((), lambda reads: ())
        if not isinstance(also, BatchPart):
            raise InvalidValueError(f"also must be a BatchPart, not {type(also).__name__}")
        return also


async def transact(
    driver: Driver,
    keys: Iterable[Key],
    plan: Callable[[ReadSet], Plan[R]],
    *,
    assume: ReadSet | None = None,
    once: Receipt | None = None,
) -> R:
    """Read `keys`, ask `plan` what to write, and commit that. After a `ConflictError`, do it again, with jitter.

    `plan` is a plain function that may run several times. Its writes need a condition on every item that it relies on.
    `assume` contains guesses that save the reading; a wrong guess costs a second try. `once` is a receipt that is kept
    for a day: if it exists already, `Repeated` is raised and nothing is written.

    Raises `ConflictError` after 200 lost races and for the receipt of a call with another function, and whatever the
    driver raises. An `OutcomeUnknownError` is never retried here.
    """
    reads: dict[Key, Item | None] = dict(assume or {})
    await _read(driver, reads, [wanted for wanted in keys if wanted not in reads])
    tries = 0
    while True:
        planned = plan(reads)
        if not planned.writes:
            return planned.result
        writes = planned.writes
        if once is not None:
            writes = [*writes, Put(once.at, once.contents, If.ABSENT, _RECEIPT_TTL_MS)]
        try:
            await driver.apply(writes)
        except ConflictError as conflict:
            if once is not None and once.at in conflict.keys:
                await _repeated(driver, once, conflict)
            tries += 1
            if tries == _TRIES:
                raise
            # Winners come back at once, and a task that sleeps only meets winners. So every second try is made at once
            # (where processes take turns, it is still this one's turn), and after many losses each one is.
            if tries % 2 == 0 and tries < _PATIENCE:
                await backoff(min(tries // 2, 3))
            reads.update(conflict.items)
            await _read(driver, reads, [failed for failed in conflict.keys if failed not in conflict.items])
        else:
            return planned.result


async def _repeated(driver: Driver, once: Receipt, conflict: ConflictError) -> NoReturn:
    there = conflict.items.get(once.at)
    if there is None:
        (there,) = await driver.get([once.at])
    if there is not None and there.value != once.contents:
        raise ConflictError(
            f"the token of once= was already used to change {once.subject!r} with another function, and nothing was written "
            "now: use a new token for each change",
            keys=(once.at,),
        ) from None
    raise Repeated from conflict


async def _read(driver: Driver, reads: dict[Key, Item | None], keys: Sequence[Key]) -> None:
    limit = driver.capabilities.max_keys
    for start in range(0, len(keys), limit):
        part = keys[start : start + limit]
        reads.update(zip(part, await get_each(driver, part), strict=True))
