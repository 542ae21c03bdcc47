"""What is sent: each function is the whole work of one call and runs in a worker thread."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from holdfast.driver import Item, Key, Page, Record, Verdict, Work, below, collect, host_now_ms, judge, needed

from ._errors import of_sqlite

__all__ = ["clear", "commit", "fetch", "list_page", "purge"]

_FREED_PER_WRITE = 16
_REMOVED_AT_ONCE = 1000

# One statement for many rows: each statement gives Python's lock away and takes it back, which is slow beside a
# busy event loop. 50 rows of 5 variables stay below every limit that SQLite was ever built with (999).
_ROWS = 50


def _upsert(rows: int) -> str:
    return (
        f"INSERT INTO items (key, value, etag, updated_at, expires_at) VALUES {', '.join(['(?, ?, ?, ?, ?)'] * rows)} "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value, etag = excluded.etag, "
        "updated_at = excluded.updated_at, expires_at = excluded.expires_at"
    )


def _select(values: bool, rest: str) -> str:
    return f"SELECT items.key, {'items.value' if values else 'NULL'}, etag, updated_at, expires_at FROM {rest}"


_UPSERT_ONE = _upsert(1)
_UPSERT_MANY = _upsert(_ROWS)
_GET_ONE = {values: _select(values, "items WHERE key = ?") for values in (False, True)}
_GET_MANY = {
    values: _select(values, "json_each(?) AS wanted CROSS JOIN items ON items.key = wanted.value") for values in (False, True)
}
_DELETE_ONE = "DELETE FROM items WHERE key = ?"
_DELETE_MANY = "DELETE FROM items WHERE key IN (SELECT value FROM json_each(?))"
_FREE = "DELETE FROM items WHERE rowid IN (SELECT rowid FROM items WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)"
_CLEAR = (
    "DELETE FROM items WHERE rowid IN (SELECT rowid FROM items WHERE key >= ? AND key < ? ORDER BY key LIMIT ?) "
    "RETURNING expires_at"
)
_LAST_KEY = "\U0010ffff"
"""Above every key: a key begins with a letter, a digit or `@`."""


def fetch(connection: sqlite3.Connection, keys: Sequence[Key], values: bool) -> list[Item | None]:
    """The live items at these keys, in order, as one statement sees them."""
    now = host_now_ms()
    records = _read(connection, keys, values)
    found: list[Item | None] = []
    for key in keys:
        record = records.get(key)
        found.append(None if record is None or record.gone(now) else record.item(key, now))
    return found


def commit(connection: sqlite3.Connection, work: Sequence[Work], place: str) -> list[Verdict]:
    """Judge all units and write what comes of it, in one transaction with one sync."""
    with _transaction(connection, place):
        now = host_now_ms()
        wanted = needed(work)
        records = _read(connection, [key for key, values in wanted.items() if values], True)
        records |= _read(connection, [key for key, values in wanted.items() if not values], False)
        judgement = judge(work, now, records)
        if judgement.net:
            _write(connection, judgement.net)
        _free(connection, now, _FREED_PER_WRITE)
    return judgement.verdicts


def list_page(
    connection: sqlite3.Connection,
    base: Key,
    after: Key | None,
    before: Key | None,
    reverse: bool,
    limit: int,
    values: bool,
) -> Page:
    """One page, read as one statement and so as one snapshot."""
    now = host_now_ms()
    low, high = below(base)
    bounds: list[tuple[str, object]] = [("key >= ?", low)]
    if high is not None:
        bounds.append(("key < ?", high))
    if after is not None:
        bounds.append(("key > ?", after))
    if before is not None:
        bounds.append(("key < ?", before))
    bounds.append(("(expires_at IS NULL OR expires_at > ?)", now))
    where = " AND ".join(condition for condition, _ in bounds)
    order = "DESC" if reverse else "ASC"
    sql = _select(values, f"items WHERE {where} ORDER BY key {order} LIMIT ?")
    # One row more than asked tells whether there is a next page. Closing ends the snapshot before its last row.
    with closing(connection.execute(sql, (*(bound for _, bound in bounds), limit + 1))) as rows:
        return collect((record.item(key, now) for key, record in map(_record, rows)), limit)


def clear(connection: sqlite3.Connection, base: Key, place: str) -> tuple[int, bool]:
    """Remove some of what is below `base`: how many live items that were, and whether more may be left."""
    low, high = below(base)
    with _transaction(connection, place):
        now = host_now_ms()
        gone = connection.execute(_CLEAR, (low, high or _LAST_KEY, _REMOVED_AT_ONCE)).fetchall()
    return sum(expires_at is None or expires_at > now for (expires_at,) in gone), len(gone) == _REMOVED_AT_ONCE


def purge(connection: sqlite3.Connection, place: str) -> tuple[int, bool]:
    """Free some expired items: how many, and whether more may be left."""
    with _transaction(connection, place):
        freed = _free(connection, host_now_ms(), _REMOVED_AT_ONCE)
    return freed, freed == _REMOVED_AT_ONCE


@contextmanager
def _transaction(connection: sqlite3.Connection, place: str) -> Iterator[None]:
    """All or nothing; an error of the commit itself says that it may have happened."""
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
    if connection.in_transaction:  # SQLite has rolled back by itself after some errors
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
    return key, Record(value, etag, updated_at, expires_at)


def _write(connection: sqlite3.Connection, net: Mapping[Key, Record | None]) -> None:
    puts = [
        (key, record.value, record.etag, record.updated_at, record.expires_at)
        for key, record in net.items()
        if record is not None
    ]
    whole = len(puts) - len(puts) % _ROWS
    for start in range(0, whole, _ROWS):
        connection.execute(_UPSERT_MANY, [field for row in puts[start : start + _ROWS] for field in row])
    if whole < len(puts):
        connection.executemany(_UPSERT_ONE, puts[whole:])
    if len(puts) == len(net):
        return
    deletes = [key for key, record in net.items() if record is None]
    if len(deletes) == 1:
        connection.execute(_DELETE_ONE, deletes)
    else:
        connection.execute(_DELETE_MANY, (json.dumps(deletes, ensure_ascii=False),))


def _free(connection: sqlite3.Connection, now: int, limit: int) -> int:
    return connection.execute(_FREE, (now, limit)).rowcount
