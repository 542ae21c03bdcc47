"""The scripts' arguments, and the meaning of their results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from limpet import ConflictError, CorruptDataError, TooLargeError
from limpet.driver import KEEP, Append, Check, Delete, If, Item, Key, Outcome, Page, Put, Range, Unit, new_etag
from limpet.driver.kit import below, between, to_bytes

from ._client import Client
from ._layout import Names, item_of
from ._scripts import CLEAR, COMMIT, FETCH, LIST, PURGE

__all__ = ["clear", "commit", "fetch", "list_page", "purge"]

_PAGE_BYTES = 1024 * 1024
_CONFLICT_BYTES = 1024 * 1024
_REMOVED_AT_ONCE = 1000


async def fetch(client: Client, names: Names, keys: Sequence[Key], values: bool) -> list[Item | None]:
    """Return the live items at these keys, in order, as seen by one script."""
    now, *records = await client.ask(FETCH, names.all[:1], int(values), *keys)
    return [
        None if record is None else item_of(key, record, now, values=values)
        for key, record in zip(keys, records, strict=True)
    ]


async def list_page(
    client: Client,
    names: Names,
    range: Range,
) -> Page:
    """Return one page, read by one script and so as one snapshot."""
    low, high = between(range)
    now, last, *found = await client.ask(
        LIST, names.all[:2], *_range(low, high), int(range.reverse), range.limit, int(range.values), _PAGE_BYTES
    )
    pairs = zip(found[::2], found[1::2], strict=True)
    items = [item_of(key.decode(), record, now, values=range.values) for key, record in pairs]
    return Page(items, None if last is None else last.decode())


async def commit(client: Client, names: Names, units: Sequence[Unit]) -> list[Outcome]:
    """Evaluate all units and write their effects, in one script."""
    arguments: list[Any] = [names.channel, _CONFLICT_BYTES, len(units)]
    for unit in units:
        arguments += _append(unit) if isinstance(unit, Append) else _batch(unit)
    now, *answers = await client.script(COMMIT, names.all, *arguments)
    return [_outcome(unit, answer, now) for unit, answer in zip(units, answers, strict=True)]


async def clear(client: Client, names: Names, base: Key) -> tuple[int, bool]:
    """Remove some of what is below `base`. Return how many live items that were, and whether there may be more."""
    low, high = below(base)
    gone, lived = await client.script(CLEAR, names.all, *_range(low, high), _REMOVED_AT_ONCE, names.channel)
    return lived, gone == _REMOVED_AT_ONCE


async def purge(client: Client, names: Names) -> tuple[int, bool]:
    """Free some expired items. Return how many, and whether there may be more."""
    freed: int = await client.script(PURGE, names.all, _REMOVED_AT_ONCE)
    return freed, freed == _REMOVED_AT_ONCE


def _range(low: str, high: str | None) -> tuple[str, str]:
    return f"[{low}" if low else "-", f"({high}" if high is not None else "+"


def _batch(unit: Sequence[Put | Delete | Check]) -> Iterator[Any]:
    yield "b"
    yield len(unit)
    for write in unit:
        yield "p" if isinstance(write, Put) else "d" if isinstance(write, Delete) else "c"
        yield write.key
        yield _cond(write.cond)
        if isinstance(write, Put):
            yield from _content(write)


def _append(unit: Append) -> Iterator[Any]:
    yield from ("a", unit.log, unit.check.key, _cond(unit.check.cond), new_etag(), len(unit.puts))
    for put in unit.puts:
        yield put.key
        yield from _content(put)


def _content(put: Put) -> tuple[Any, ...]:
    ttl = "" if put.ttl_ms is None else "K" if put.ttl_ms is KEEP else put.ttl_ms
    return put.etag, ttl, to_bytes(put.value)


def _cond(cond: Any) -> str:
    return "" if cond is None else "A" if cond is If.ABSENT else "P" if cond is If.PRESENT else f"={cond}"


def _outcome(unit: Unit, answer: Any, now: int) -> Outcome:
    match answer:
        case 0:
            return None
        case [b"n", first]:
            return int(first)
        case [b"c", *failed]:
            keys = [key.decode() for key in failed[::3]]
            carried = zip(keys, failed[1::3], failed[2::3], strict=True)
            items = {
                key: None if record is None else item_of(key, record, now)
                for key, whether, record in carried
                if whether
            }
            return ConflictError(keys=tuple(keys), items=items)
        case [b"x", b"full"]:
            return TooLargeError(f"the log at {_log(unit)!r} is full: it has used all of its {10**16 - 1} numbers")
        case _:
            return CorruptDataError(f"the item at {_log(unit)!r} should be the next number of a log, but is not")


def _log(unit: Unit) -> Key:
    return unit.log if isinstance(unit, Append) else ""
