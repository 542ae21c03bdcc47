"""What is sent: SQL, each function one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import asyncpg
from limpet import ConflictError
from limpet.driver import Append, If, Item, Key, Outcome, Page, Put, Range, Unit, new_etag
from limpet.driver.kit import (
    Record,
    SerializationFailure,
    below,
    between,
    evaluate,
    keys_to_read,
    row_changes,
    to_bytes,
    to_page,
)

from ._layout import NOW, Names, item_of, record_of

__all__ = ["Commands"]

Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"

_PAGE_BYTES = 1024 * 1024
_LAST_KEY = "\U0010ffff"
"""Above every key: a key begins with a letter, a digit or `@`."""
_REMOVED_AT_ONCE = 1000


class Commands:
    """The statements for one table."""

    def __init__(self, names: Names) -> None:
        items = names.items
        left = f"CASE WHEN expires_at IS NOT NULL THEN greatest(expires_at - {NOW}, 1) END"
        alive = f"(expires_at IS NULL OR expires_at > {NOW})"
        self._fetch = {
            values: f"SELECT key, {'value' if values else 'NULL::bytea'}, etag, updated_at, {left} "
            f"FROM {items} WHERE key = ANY($1) AND {alive}"
            for values in (False, True)
        }
        self._list = {
            (values, reverse): f"""
                SELECT key, {"value" if values else "NULL::bytea"}, etag, updated_at, {left} FROM (
                    SELECT *, sum({"octet_length(value)" if values else "0"}) OVER (ORDER BY key {order}) AS total
                    FROM (
                        SELECT * FROM {items} WHERE key >= $1 AND key > $2 AND key < $3 AND {alive}
                        ORDER BY key {order} LIMIT $4
                    ) AS page
                ) AS summed
                WHERE total - {"octet_length(value)" if values else "0"} <= {_PAGE_BYTES} ORDER BY key {order}
            """
            for values in (False, True)
            for reverse, order in ((False, "ASC"), (True, "DESC"))
        }
        self._put = f"""
            INSERT INTO {items} AS old (key, value, etag, updated_at, expires_at)
            SELECT key, value, etag, moment, moment + ttl
            FROM unnest(string_to_array($1, ' '), $2::bytea[], string_to_array($3, ' '), $4::bigint[])
                AS new (key, value, etag, ttl), (SELECT {NOW} AS moment) AS clock
            ON CONFLICT (key) DO UPDATE SET value = excluded.value, etag = excluded.etag,
                updated_at = excluded.updated_at, expires_at = excluded.expires_at
            WHERE old.etag <> excluded.etag OR old.expires_at <= excluded.updated_at
        """
        self._append = f"SELECT {names.append}($1, $2, $3, $4, $5, $6, $7, $8)"
        self._lock = f"""
            WITH locked AS MATERIALIZED (
                SELECT key, CASE WHEN key = ANY($2) THEN value END, etag, updated_at, expires_at
                FROM {items} WHERE key = ANY($1) ORDER BY key FOR UPDATE
            )
            SELECT * FROM locked UNION ALL SELECT NULL, NULL, NULL, {NOW}, NULL
        """
        self._look = f"SELECT key, etag FROM {items} WHERE key = ANY($1)"
        self._write = f"""
            WITH updated AS (
                UPDATE {items} AS items SET value = new.value, etag = new.etag, updated_at = new.updated_at,
                    expires_at = new.expires_at
                FROM unnest($1::text[], $2::bytea[], $3::text[], $4::bigint[], $5::bigint[])
                    AS new (key, value, etag, updated_at, expires_at)
                WHERE items.key = new.key
            ), deleted AS (
                DELETE FROM {items} WHERE key = ANY($6)
            ), inserted AS (
                INSERT INTO {items} (key, value, etag, updated_at, expires_at)
                SELECT * FROM unnest($7::text[], $8::bytea[], $9::text[], $10::bigint[], $11::bigint[])
                    AS new (key, value, etag, updated_at, expires_at)
                ON CONFLICT DO NOTHING RETURNING 1
            )
            SELECT count(*) FROM inserted
        """
        some = f"SELECT ctid FROM {items} WHERE"
        self._clear = f"""
            WITH gone AS (
                DELETE FROM {items} WHERE ctid = ANY(ARRAY(
                    {some} key >= $1 AND key < $2 ORDER BY key LIMIT {_REMOVED_AT_ONCE} FOR UPDATE
                )) RETURNING expires_at
            )
            SELECT count(*), count(*) FILTER (WHERE {alive}) FROM gone
        """
        self._free = f"""
            DELETE FROM {items} WHERE ctid = ANY(ARRAY(
                {some} expires_at <= {NOW} ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
            ))
        """

    async def fetch(self, connection: Connection, keys: Sequence[Key], values: bool) -> list[Item | None]:
        """The live items at these keys, in order, as one statement sees them."""
        rows = await connection.fetch(self._fetch[values], keys)
        found = {row[0]: item_of(row) for row in rows}
        return [found.get(key) for key in keys]

    async def list_page(
        self,
        connection: Connection,
        range: Range,
    ) -> Page:
        """One page, read as one statement and so as one snapshot."""
        low, high = between(replace(range, after=None))
        rows = await connection.fetch(
            self._list[range.values, range.reverse],
            low,
            range.after or "",
            _LAST_KEY if high is None else high,
            range.limit + 1,
        )
        page = to_page(map(item_of, rows), range.limit)
        if page.next is None and page.items and len(rows) <= range.limit and _filled(rows):
            return Page(page.items, page.items[-1].key)  # the server stopped at the size
        return page

    async def put(self, connection: Connection, puts: Sequence[Put]) -> None:
        """Puts that ask for nothing, in key order and each under a key of its own, in one statement.

        Keys and etags, which hold no space, travel as one text each, and no ttl at all as no array: asyncpg takes a
        microsecond and more for every element of an array.
        """
        ttls = [put.ttl_ms if isinstance(put.ttl_ms, int) else None for put in puts]
        await connection.execute(
            self._put,
            " ".join([put.key for put in puts]),
            [to_bytes(put.value) for put in puts],
            " ".join([put.etag for put in puts]),
            ttls if any(ttls) else [],
        )

    async def append(self, connection: Connection, unit: Append) -> int | None:
        """Append to a log that is as expected; `None` for what is refused, or begins a log: the judge says which."""
        puts = unit.puts
        first = await connection.fetchval(
            self._append,
            unit.log,
            unit.check.key,
            None if unit.check.cond is If.PRESENT else unit.check.cond,
            new_etag(),
            [put.key for put in puts],
            [to_bytes(put.value) for put in puts],
            [put.etag for put in puts],
            [put.ttl_ms if isinstance(put.ttl_ms, int) else None for put in puts],
        )
        return None if first is None else int(first)

    async def play(self, connection: Connection, units: Sequence[Unit]) -> list[Outcome]:
        """Inside a transaction: lock, judge, write. Raises `SerializationFailure` where it has to be played again."""
        wanted = keys_to_read(units)
        rows = await connection.fetch(self._lock, list(wanted), [key for key, values in wanted.items() if values])
        now = int(rows[-1][3])
        records: dict[Key, Record | None] = dict(map(record_of, rows[:-1]))
        evaluation = evaluate(units, now, records)
        if len(wanted) > len(records) and any(isinstance(outcome, ConflictError) for outcome in evaluation.outcomes):
            # What was locked is as of now, what was absent as of the beginning: a refusal has to be true at one moment.
            rows = await connection.fetch(self._look, list(wanted))
            if {row[0]: row[1] for row in rows} != {key: record.etag for key, record in records.items() if record}:
                raise SerializationFailure
        todo = row_changes(units, evaluation, records, now)
        if todo.changed or todo.new or todo.deleted:
            made = await connection.fetchval(self._write, *_columns(todo.changed), todo.deleted, *_columns(todo.new))
            if made != len(todo.new):
                raise SerializationFailure
        return evaluation.outcomes

    async def clear(self, connection: Connection, base: Key) -> tuple[int, bool]:
        """Remove some of what is below `base`: how many live items that were, and whether more may be left."""
        low, high = below(base)
        gone, lived = await connection.fetchrow(self._clear, low, _LAST_KEY if high is None else high) or (0, 0)
        return lived, gone == _REMOVED_AT_ONCE

    async def free(self, connection: Connection, limit: int = _REMOVED_AT_ONCE) -> int:
        """Remove up to `limit` expired items; answer how many."""
        status: str = await connection.execute(self._free, limit)
        return int(status.rsplit(" ", 1)[-1])


def _columns(records: Mapping[Key, Record]) -> tuple[list[Any], ...]:
    rows = records.items()
    return (
        [key for key, _ in rows],
        [to_bytes(record.value if record.value is not None else "") for _, record in rows],
        [record.etag for _, record in rows],
        [record.updated_at for _, record in rows],
        [record.expires_at for _, record in rows],
    )


def _filled(rows: Sequence[Any]) -> bool:
    return sum(len(row[1]) for row in rows if row[1] is not None) > _PAGE_BYTES
