"""For drivers that lock, evaluate and then write: retry a transaction, and turn an evaluation into rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

from ..._errors import UnavailableError
from .._types import KEEP, Append, Delete, Key, Outcome, Put, Unit, new_etag
from ._defaults import backoff
from ._evaluate import Evaluation, Record

__all__ = [
    "RowChanges",
    "SerializationFailure",
    "row_changes",
    "on_connection",
    "unconditional_puts",
    "retry_transaction",
]

C = TypeVar("C")
T = TypeVar("T")


class SerializationFailure(Exception):
    """Another transaction created a key that was absent when this one read it: roll back and retry."""


@dataclass(frozen=True, slots=True)
class RowChanges:
    """What to write, in key order."""

    changed: dict[Key, Record]
    """Rows to update."""
    new: dict[Key, Record]
    """Rows to insert. If one exists by now, the race was lost."""
    deleted: list[Key]


def row_changes(
    units: Sequence[Unit], evaluation: Evaluation, records: Mapping[Key, Record | None], now: int
) -> RowChanges:
    """Turn an evaluation into rows to insert, update and delete.

    `records` contains the existing rows, including expired ones.
    """
    changed: dict[Key, Record] = {}
    new: dict[Key, Record] = {}
    for key, record in evaluation.effects.items():
        if record is not None:
            (changed if key in records else new)[key] = record
        elif key not in records:  # put and deleted in one round: it must stay absent until the end
            new[key] = Record("", new_etag(), now, 0)
    deleted = sorted(key for key, record in evaluation.effects.items() if record is None and key in records)
    for unit, outcome in zip(units, evaluation.outcomes, strict=True):
        if outcome is None and not isinstance(unit, Append) and len(unit) > 1:
            for write in unit:
                if isinstance(write, Delete) and write.key not in records:
                    # Nothing to delete, and nobody may put something there before this batch has ended. An item that
                    # expired long ago keeps the key, whatever the clock of a reader that started before us says.
                    new.setdefault(write.key, Record("", new_etag(), now, 0))
    return RowChanges(dict(sorted(changed.items())), dict(sorted(new.items())), deleted)


def unconditional_puts(units: Sequence[Unit]) -> list[Put] | None:
    """Return the puts in key order if every unit is a batch of unconditional puts; otherwise `None`.

    Such units require no reading, and one statement writes each batch.
    """
    puts: dict[Key, Put] = {}
    for unit in units:
        if isinstance(unit, Append):
            return None
        for write in unit:
            if not isinstance(write, Put) or write.cond is not None or write.ttl_ms is KEEP or write.key in puts:
                return None
            puts[write.key] = write
    return [puts[key] for key in sorted(puts)]


async def retry_transaction(
    play: Callable[[Sequence[Unit]], Awaitable[Sequence[Outcome]]],
    units: Sequence[Unit],
    *,
    place: str,
    seconds: float,
) -> list[Outcome]:
    """Run a transaction until it raises no `SerializationFailure`, for about `seconds`.

    Raises what `play` raises, with `sent` if part of the units was committed before, and `UnavailableError` if it
    keeps losing.
    """
    until = monotonic() + seconds
    attempt = 0
    while True:
        try:
            return list(await play(units))
        except SerializationFailure as error:
            cause = error
        attempt += 1
        if monotonic() > until:
            raise UnavailableError(f"{place}: a write lost {attempt} races in a row: retry") from cause
        if len(units) > 1 and attempt > 1:  # together they lost twice; one by one, each holds its locks for less time
            outcomes: list[Outcome] = []
            for unit in units:
                try:
                    outcomes += await retry_transaction(play, [unit], place=place, seconds=until - monotonic())
                except UnavailableError as failure:
                    raise UnavailableError(str(failure), sent=failure.sent or bool(outcomes)) from failure
            return outcomes
        await backoff(attempt)


async def on_connection(
    lend: Callable[[], AbstractAsyncContextManager[C]],
    act: Callable[[C], Awaitable[T]],
    *,
    ended: Callable[[C], bool],
    errors: tuple[type[Exception], ...],
) -> T:
    """Act on a connection, and once more if the server had closed it before anything was written."""
    async with lend() as connection:
        try:
            return await act(connection)
        except errors as error:
            if not ended(connection) or (isinstance(error, UnavailableError) and error.sent):
                raise
    async with lend() as connection:
        return await act(connection)
