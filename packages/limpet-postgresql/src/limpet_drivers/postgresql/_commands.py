"""SQL: each function is one call."""

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

from ._layout import BEGAN, NOW, Names, item_of, record_of

__all__ = ["Commands"]

Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"

_PAGE_BYTES = 1024 * 1024
_LAST_KEY = "\U0010ffff"
"""Greater than every key: keys start with a letter, a digit or `@`."""
_REMOVED_AT_ONCE = 1000


class Commands:
    """The statements for one table."""

    def __init__(self, names: Names) -> None:
        # Functions are named with pg_catalog, and operators have exactly the types that they are defined for, so what
        # others create in a schema on the session's path is not considered. (With several arrays, `unnest` is syntax.)
        items = names.items
        left = f"CASE WHEN expires_at IS NOT NULL THEN greatest(expires_at - {BEGAN}, 1::bigint) END"
        alive = f"(expires_at IS NULL OR expires_at > {BEGAN})"
        size = "pg_catalog.octet_length(value)"
        self._fetch = {
            values: f"SELECT key, {'value' if values else 'NULL::bytea'}, etag, updated_at, {left} "
            f"FROM {items} WHERE key = ANY($1::text[]) AND {alive}"
            for values in (False, True)
        }
        self._list = {
            (values, reverse): f"""
                SELECT key, {"value" if values else "NULL::bytea"}, etag, updated_at, {left} FROM (
                    SELECT *, pg_catalog.sum({size if values else "0"}) OVER (ORDER BY key {order}) AS total
                    FROM (
                        SELECT * FROM {items} WHERE key >= $1::text AND key > $2::text AND key < $3::text AND {alive}
                        ORDER BY key {order} LIMIT $4
                    ) AS page
                ) AS summed
                WHERE total - {size if values else "0"} <= {_PAGE_BYTES} ORDER BY key {order}
            """
            for values in (False, True)
            for reverse, order in ((False, "ASC"), (True, "DESC"))
        }
        new = (
            "unnest(pg_catalog.string_to_array($1::text, ' '::text), $2::bytea[], "
            "pg_catalog.string_to_array($3::text, ' '::text), $4::bigint[]) AS new (key, value, etag, ttl)"
        )
        # If a put finds its own etag, it was applied before. It may have expired already if it waited for another
        # insert that was then rolled back: the caller puts it again.
        unless_done = "WHERE old.etag <> excluded.etag OR old.expires_at <="
        born_expired = f"RETURNING coalesce(old.expires_at <= {NOW}, false)"
        self._put_one = f"""
            INSERT INTO {items} AS old (key, value, etag, updated_at, expires_at)
            SELECT key, value, etag, moment, moment + ttl FROM {new}, (SELECT {NOW} AS moment) AS clock
            ON CONFLICT (key) DO UPDATE SET value = excluded.value, etag = excluded.etag, (updated_at, expires_at) = (
                SELECT moment, moment + (excluded.expires_at - excluded.updated_at) FROM (SELECT {NOW} AS moment) AS clock
            )
            {unless_done} {NOW} {born_expired}
        """
        self._put = f"""
            WITH locked AS MATERIALIZED (
                SELECT 1 FROM {items} WHERE key = ANY(pg_catalog.string_to_array($1::text, ' '::text)) ORDER BY key FOR UPDATE
            ), clock AS MATERIALIZED (
                SELECT CASE WHEN (SELECT pg_catalog.count(*) FROM locked) >= 0 THEN {NOW} END AS moment
            )
            INSERT INTO {items} AS old (key, value, etag, updated_at, expires_at)
            SELECT key, value, etag, moment, moment + ttl FROM {new}, clock
            ON CONFLICT (key) DO UPDATE SET value = excluded.value, etag = excluded.etag,
                updated_at = excluded.updated_at, expires_at = excluded.expires_at
            {unless_done} excluded.updated_at {born_expired}
        """
        self._append = f"SELECT {names.append}($1, $2, $3, $4, $5, $6, $7, $8)"
        # The counters of logs first, like an append, which locks its check for as long.
        self._lock = f"""
            WITH locked AS MATERIALIZED (
                SELECT key, CASE WHEN key = ANY($2::text[]) THEN value END, etag, updated_at, expires_at
                FROM {items} WHERE key = ANY($1::text[]) ORDER BY pg_catalog.right(key, 2) <> '!n'::text, key FOR UPDATE
            )
            SELECT * FROM locked UNION ALL SELECT NULL, NULL, NULL, {NOW}, NULL
        """
        self._look = f"SELECT key, etag FROM {items} WHERE key = ANY($1::text[])"
        self._write = f"""
            WITH updated AS (
                UPDATE {items} AS items SET value = new.value, etag = new.etag, updated_at = new.updated_at,
                    expires_at = new.expires_at
                FROM unnest($1::text[], $2::bytea[], $3::text[], $4::bigint[], $5::bigint[])
                    AS new (key, value, etag, updated_at, expires_at)
                WHERE items.key = new.key
            ), deleted AS (
                DELETE FROM {items} WHERE key = ANY($6::text[])
            ), inserted AS (
                INSERT INTO {items} (key, value, etag, updated_at, expires_at)
                SELECT * FROM unnest($7::text[], $8::bytea[], $9::text[], $10::bigint[], $11::bigint[])
                    AS new (key, value, etag, updated_at, expires_at)
                ON CONFLICT DO NOTHING RETURNING 1
            )
            SELECT pg_catalog.count(*) FROM inserted
        """
        # By key, because a row moves with every update of another. The loop ends by how many rows were found, not by
        # how many were removed.
        self._clear = f"""
            WITH found AS MATERIALIZED (
                SELECT key FROM {items} WHERE key >= $1::text AND key < $2::text ORDER BY key LIMIT {_REMOVED_AT_ONCE}
                FOR UPDATE
            ), gone AS (
                DELETE FROM {items} WHERE key = ANY(ARRAY(SELECT key FROM found)) RETURNING {alive} AS lived
            )
            SELECT (SELECT pg_catalog.count(*) FROM found), pg_catalog.count(*) FILTER (WHERE lived) FROM gone
        """
        self._free = f"""
            WITH found AS MATERIALIZED (
                SELECT key FROM {items} WHERE expires_at <= {BEGAN} ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
            ), gone AS (
                DELETE FROM {items} WHERE key = ANY(ARRAY(SELECT key FROM found)) RETURNING 1
            )
            SELECT (SELECT pg_catalog.count(*) FROM found), pg_catalog.count(*) FROM gone
        """

    async def fetch(self, connection: Connection, keys: Sequence[Key], values: bool) -> list[Item | None]:
        """Return the live items at these keys, in order, as seen by one statement."""
        rows = await connection.fetch(self._fetch[values], keys)
        found = {row[0]: item_of(row) for row in rows}
        return [found.get(key) for key in keys]

    async def list_page(
        self,
        connection: Connection,
        range: Range,
    ) -> Page:
        """Return one page, read by one statement and so as one snapshot."""
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
            return Page(page.items, page.items[-1].key)  # the server stopped at the size limit
        return page

    async def put(self, connection: Connection, puts: Sequence[Put]) -> bool:
        """Run unconditional puts, in key order and each with a different key, in one statement.

        Returns whether they exist. If not, they have expired while they waited, and must be put again.

        Keys and etags, which contain no spaces, are each sent as one string, and no ttl as no array: asyncpg takes at
        least a microsecond for every element of an array.
        """
        ttls = [put.ttl_ms if isinstance(put.ttl_ms, int) else None for put in puts]
        born_expired = await connection.fetch(
            self._put_one if len(puts) == 1 else self._put,
            " ".join([put.key for put in puts]),
            [to_bytes(put.value) for put in puts],
            " ".join([put.etag for put in puts]),
            ttls if any(ttls) else [],
        )
        return not any(row[0] for row in born_expired)

    async def append(self, connection: Connection, unit: Append) -> int | None:
        """Append to a log in its expected state.

        Returns `None` if it is refused or starts a log: `evaluate` decides that.
        """
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
        """In a transaction: lock, evaluate, write. Raises `SerializationFailure` if it must be run again."""
        wanted = keys_to_read(units)
        rows = await connection.fetch(self._lock, list(wanted), [key for key, values in wanted.items() if values])
        now = int(rows[-1][3])
        records: dict[Key, Record | None] = dict(map(record_of, rows[:-1]))
        evaluation = evaluate(units, now, records)
        if len(wanted) > len(records) and any(isinstance(outcome, ConflictError) for outcome in evaluation.outcomes):
            # What was locked is current, what was absent is from the start: a refusal must be true at one moment.
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
        """Remove some of what is below `base`. Return how many live items that were, and whether there may be more."""
        low, high = below(base)
        found, lived = await connection.fetchrow(self._clear, low, _LAST_KEY if high is None else high) or (0, 0)
        return lived, found == _REMOVED_AT_ONCE

    async def free(self, connection: Connection, limit: int = _REMOVED_AT_ONCE) -> tuple[int, bool]:
        """Remove up to `limit` expired items that nobody uses. Return how many, and whether there may be more."""
        found, gone = await connection.fetchrow(self._free, limit) or (0, 0)
        return gone, found == limit

    async def warm(self, connection: Connection) -> None:
        """Prepare the plans that writes need, without writing: so the first write is as fast as the second."""
        await self.put(connection, [])
        await connection.fetch(self._put_one, "", [], "", [])
        await self.free(connection, 0)
        await connection.fetchval(self._append, *["", "", None, "", [], [], [], []])


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
