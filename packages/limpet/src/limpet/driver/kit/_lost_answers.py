"""After a lost answer: was the unit applied, or refused? Only what cannot happen twice is sent again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from ..._errors import LimpetError, OutcomeUnknownError, UnavailableError
from .._keys import number
from .._types import Append, Batch, Check, Item, Key, Outcome, Put, Unit
from ._defaults import backoff
from ._evaluate import counter_value

__all__ = ["Fetch", "Send", "resolve_lost_answer"]

Fetch: TypeAlias = Callable[[Sequence[Key]], Awaitable[Sequence[Item | None]]]
"""Returns items in order, without their values; the value of a log's counter may be included."""
Send: TypeAlias = Callable[[Unit], Awaitable[Outcome]]

_TRIES = 5
_TAIL = 256
"""How many of a log's last entries are searched for a lost append."""


async def resolve_lost_answer(unit: Unit, cause: UnavailableError, fetch: Fetch, send: Send) -> Outcome:
    """Determine the outcome of a unit whose answer was lost.

    If one of its etags is stored, the batch was applied. A batch that puts or deletes something under an
    etag is sent again, since its condition lets it happen only once. Any other batch, and an append, is only read back.
    """
    if isinstance(unit, Append):
        return await _read_back_append(unit, cause, fetch)
    resend = any(isinstance(write.cond, str) and not isinstance(write, Check) for write in unit)
    for attempt in range(1, _TRIES + 1):
        try:
            if await _proved(unit, fetch):
                return None
            if resend:
                answer = await send(unit)
                # Refused now, for any reason: someone wrote after the first attempt was applied, or instead of it.
                return _unknown(cause) if isinstance(answer, Exception) else answer
        except UnavailableError:
            await backoff(attempt + 4)
        except LimpetError as error:  # permissions, password, damage: none of these says whether the write was applied
            return _unknown(cause, error)
        else:
            break
    return _unknown(cause)


async def _proved(unit: Batch, fetch: Fetch) -> bool:
    own = {write.key: write.etag for write in unit if isinstance(write, Put)}
    items = await fetch(list(own)) if own else []
    return any(item is not None and item.etag == etag for item, etag in zip(items, own.values(), strict=True))


async def _read_back_append(unit: Append, cause: UnavailableError, fetch: Fetch) -> Outcome:
    first = unit.puts[0]
    for attempt in range(1, _TRIES + 1):
        try:
            (counter,) = await fetch([unit.log])
            following = counter_value(counter.value) if counter is not None else None
            if following is None:
                return _unknown(cause)
            numbers = range(max(0, following - _TAIL), following)
            items = await fetch([f"{first.key}!{number(n)}" for n in numbers])
        except UnavailableError:
            await backoff(attempt + 4)
            continue
        except LimpetError as error:
            return _unknown(cause, error)
        for n, item in zip(numbers, items, strict=True):
            if item is not None and item.etag == first.etag:
                return n
        return _unknown(cause)
    return _unknown(cause)


def _unknown(cause: UnavailableError, reading: LimpetError | None = None) -> OutcomeUnknownError:
    why = "" if reading is None else f", and reading back failed ({reading})"
    error = OutcomeUnknownError(
        f"the answer to a write was lost ({cause}){why}: it was applied once or not at all. Read back before you write it again"
    )
    error.__cause__ = cause
    return error
