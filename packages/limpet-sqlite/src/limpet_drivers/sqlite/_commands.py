"""Each function does the whole work of one call, in a worker thread."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from limpet import CorruptDataError
from limpet.driver import KEEP, Append, Etag, Item, Key, Outcome, Page, Put, Range, Unit, new_etag, number
from limpet.driver.kit import Record, below, between, evaluate, host_now_ms, keys_to_read, to_page

from ._errors import of_sqlite

__all__ = ["Expiry", "clear", "commit", "fetch", "list_page", "purge"]

_FREED_PER_WRITE = 16
_FREE_AGAIN_MS = 1000
_REMOVED_AT_ONCE = 1000

# One statement for many rows: each statement releases and acquires Python's lock, which is slow next to a busy event
# loop. 50 rows of 5 variables stay below every limit that SQLite was ever built with (999).
_ROWS = 50


def _upsert(rows: int) -> str:
    return (
        f"INSERT INTO items (key, value, etag, updated_at, expires_at) VALUES {', '.join(['(?, ?, ?, ?, ?)'] * rows)} "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value, etag = excluded.etag, "
        "updated_at = excluded.updated_at, expires_at = excluded.expires_at"
    )


_PUT_ONE = _upsert(1) + " WHERE items.etag <> excluded.etag OR items.expires_at <= excluded.updated_at"
"""Evaluates an unconditional put in one statement. If it finds its own etag, it was applied before."""


def _select(values: bool, rest: str) -> str:
    return f"SELECT items.key, {'items.value' if values else 'NULL'}, etag, updated_at, expires_at FROM {rest}"


_UPSERT_ONE = _upsert(1)
_UPSERT_MANY = _upsert(_ROWS)
_GET_ONE = {values: _select(values, "items WHERE key = ?") for values in (False, True)}
_GET_MANY = {
    values: _select(values, "json_each(?) AS wanted CROSS JOIN items ON items.key = wanted.value")
    for values in (False, True)
}
_NEXT = (
    "UPDATE items SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT), etag = ?, updated_at = ? "
    "WHERE key = ? AND (expires_at IS NULL OR expires_at > ?) AND typeof(value) = 'text' "
    "AND length(value) BETWEEN 1 AND 15 AND value NOT GLOB '*[^0-9]*' AND EXISTS "
    "(SELECT 1 FROM items WHERE key = ? AND etag = ? AND (expires_at IS NULL OR expires_at > ?)) RETURNING value"
)
"""Evaluates an append that is not refused: increments and returns the log's next number."""

_DELETE_ONE = "DELETE FROM items WHERE key = ?"
_DELETE_MANY = "DELETE FROM items WHERE key IN (SELECT value FROM json_each(?))"
_FREE = "DELETE FROM items WHERE rowid IN (SELECT rowid FROM items WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)"
_CLEAR = (
    "DELETE FROM items WHERE rowid IN (SELECT rowid FROM items WHERE key >= ? AND key < ? ORDER BY key LIMIT ?) "
    "RETURNING expires_at"
)
_LAST_KEY = "\U0010ffff"
"""Greater than every key: keys start with a letter, a digit or `@`."""


class Expiry:
    """When writes look for expired items to free: every time while there are many, otherwise once a second."""

    def __init__(self) -> None:
        self._next = 0

    def due(self, now: int) -> bool:
        """Return whether the write in this millisecond should."""
        return not now < self._next <= now + _FREE_AGAIN_MS  # also if the clock was set back

    def free(self, connection: sqlite3.Connection, now: int) -> None:
        """Free a few expired items."""
        freed = _free(connection, now, _FREED_PER_WRITE)
        self._next = now if freed == _FREED_PER_WRITE else now + _FREE_AGAIN_MS


def fetch(connection: sqlite3.Connection, keys: Sequence[Key], values: bool) -> list[Item | None]:
    """Return the live items at these keys, in order, as seen by one statement."""
    now = host_now_ms()
    records = _read(connection, keys, values)
    found: list[Item | None] = []
    for key in keys:
        record = records.get(key)
        found.append(None if record is None or record.gone(now) else record.item(key, now))
    return found


def commit(connection: sqlite3.Connection, units: Sequence[Unit], place: str, expiry: Expiry) -> list[Outcome]:
    """Evaluate all units and write their effects, in one transaction with one sync."""
    with _transaction(connection, place):
        now = host_now_ms()  # after getting the file: another program may have kept us waiting
        if len(units) == 1 and not expiry.due(now) and (put := _plain_put(units[0])) is not None:
            connection.execute(_PUT_ONE, _row(put, now))
            return [None]
        if len(units) == 1 and not expiry.due(now) and (first := _append_one(connection, units[0], now)) is not None:
            return [first]
        wanted = keys_to_read(units)
        records = _read(connection, [key for key, values in wanted.items() if values], True)
        records |= _read(connection, [key for key, values in wanted.items() if not values], False)
        evaluation = evaluate(units, now, records)
        if evaluation.effects:
            _write(connection, evaluation.effects)
        if expiry.due(now):
            expiry.free(connection, now)
    return evaluation.outcomes


def _plain_put(unit: Unit) -> Put | None:
    """Return the put of a batch that is one unconditional put: half of all writes are, and they need no reading."""
    if isinstance(unit, Append) or len(unit) != 1:
        return None
    (write,) = unit
    return write if isinstance(write, Put) and write.cond is None and write.ttl_ms is not KEEP else None


def _append_one(connection: sqlite3.Connection, unit: Unit, now: int) -> int | None:
    """Append one entry to a log in its expected state. Anything else is left to `evaluate`."""
    if not isinstance(unit, Append) or len(unit.puts) > 1 or not isinstance(unit.check.cond, str):
        return None
    asked = (new_etag(), now, unit.log, now, unit.check.key, unit.check.cond, now)
    counted = connection.execute(_NEXT, asked).fetchall()
    if not counted:
        return None
    (put,) = unit.puts
    seq = int(counted[0][0]) - 1
    connection.execute(_UPSERT_ONE, _row(put, now, f"{put.key}!{number(seq)}"))
    return seq


def _row(put: Put, now: int, key: Key | None = None) -> tuple[object, ...]:
    ttl = put.ttl_ms
    return key or put.key, put.value, put.etag, now, now + ttl if isinstance(ttl, int) else None


def list_page(
    connection: sqlite3.Connection,
    range: Range,
) -> Page:
    """Return one page, read by one statement and so as one snapshot."""
    now = host_now_ms()
    low, high = between(range)
    where = "key >= ? AND key < ? AND (expires_at IS NULL OR expires_at > ?)"
    order = "DESC" if range.reverse else "ASC"
    sql = _select(range.values, f"items WHERE {where} ORDER BY key {order} LIMIT ?")
    # One row more than requested shows whether there is a next page. Closing ends the snapshot before its last row.
    with closing(connection.execute(sql, (low, high or _LAST_KEY, now, range.limit + 1))) as rows:
        return to_page((record.item(key, now) for key, record in map(_record, rows)), range.limit)


def clear(connection: sqlite3.Connection, base: Key, place: str) -> tuple[int, bool]:
    """Remove some of what is below `base`. Return how many live items that were, and whether there may be more."""
    low, high = below(base)
    with _transaction(connection, place):
        now = host_now_ms()
        gone = connection.execute(_CLEAR, (low, high or _LAST_KEY, _REMOVED_AT_ONCE)).fetchall()
    return sum(expires_at is None or expires_at > now for (expires_at,) in gone), len(gone) == _REMOVED_AT_ONCE


def purge(connection: sqlite3.Connection, place: str) -> tuple[int, bool]:
    """Free some expired items. Return how many, and whether there may be more."""
    with _transaction(connection, place):
        freed = _free(connection, host_now_ms(), _REMOVED_AT_ONCE)
    return freed, freed == _REMOVED_AT_ONCE


@contextmanager
def _transaction(connection: sqlite3.Connection, place: str) -> Iterator[None]:
    """All or nothing. If the commit itself fails, the error says that it may have happened."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise of_sqlite(error, place, sent=True) from error
    except BaseException:
        _roll_back(connection)
        raise


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:  # after some errors, SQLite has already rolled back
        connection.execute("ROLLBACK")


def _read(connection: sqlite3.Connection, keys: Sequence[Key], values: bool) -> dict[Key, Record]:
    if not keys:
        return {}
    if len(keys) == 1:
        rows = connection.execute(_GET_ONE[values], (keys[0],)).fetchall()
    else:
        rows = connection.execute(_GET_MANY[values], (json.dumps(keys, ensure_ascii=False),)).fetchall()
    return dict(map(_record, rows))


def _record(row: tuple[Any, ...]) -> tuple[Key, Record]:
    key, value, etag, updated_at, expires_at = row
    if not (
        type(key) is str
        and type(etag) is str
        and type(updated_at) is int
        and (expires_at is None or type(expires_at) is int)
        and (value is None or type(value) is str or type(value) is bytes)
    ):
        raise CorruptDataError(f"the row of {key!r:.200} was written by another program: its columns have other types")
    return key, Record(value, Etag(etag), updated_at, expires_at)


def _write(connection: sqlite3.Connection, effects: Mapping[Key, Record | None]) -> None:
    puts = [(key, *record) for key, record in effects.items() if record is not None]
    whole = len(puts) - len(puts) % _ROWS
    for start in range(0, whole, _ROWS):
        connection.execute(_UPSERT_MANY, [field for row in puts[start : start + _ROWS] for field in row])
    if whole < len(puts):
        connection.executemany(_UPSERT_ONE, puts[whole:])
    if len(puts) == len(effects):
        return
    deletes = [key for key, record in effects.items() if record is None]
    if len(deletes) == 1:
        connection.execute(_DELETE_ONE, deletes)
    else:
        connection.execute(_DELETE_MANY, (json.dumps(deletes, ensure_ascii=False),))


def _free(connection: sqlite3.Connection, now: int, limit: int) -> int:
    return connection.execute(_FREE, (now, limit)).rowcount
