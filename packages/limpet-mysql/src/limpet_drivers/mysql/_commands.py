"""SQL: each function is one call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from limpet import ConflictError
from limpet.driver import Append, If, Item, Key, Outcome, Page, Put, Range, Unit, is_counter, new_etag
from limpet.driver.kit import (
    Record,
    SerializationFailure,
    below,
    between,
    evaluate,
    keys_to_read,
    row_changes,
    size_of,
    to_bytes,
    to_page,
)

from ._client import Client
from ._layout import ALIVE, COLUMNS, NOW, Names, item_of, literal, packed, record_of, rows_of

__all__ = ["Commands"]

_PAGE_BYTES = 1024 * 1024
_REMOVED_AT_ONCE = 1000
_KEYS_AT_ONCE = 500
"""Maximum keys in one locking statement: with more, MariaDB creates a temporary table and may scan ours."""

_NOTHING = "''"
_OTHERWISE = "etag <> VALUES(etag) OR expires_at <= VALUES(updated_at)"
"""A put that finds its own etag was applied before, and changes nothing. `etag` is set last."""
_REPLACE = "ON DUPLICATE KEY UPDATE " + ", ".join(
    f"{name} = VALUES({name})" for name in ("value", "size", "updated_at", "expires_at", "etag")
)
_REPLACE_OTHERS = "ON DUPLICATE KEY UPDATE " + ", ".join(
    [f"{name} = IF({_OTHERWISE}, VALUES({name}), {name})" for name in ("value", "size", "updated_at", "expires_at")]
    + ["etag = VALUES(etag)"]
)


class Commands:
    """The statements for one table. None has parameters: user data is written as hexadecimal digits."""

    def __init__(self, client: Client, names: Names) -> None:
        self._client = client
        self._items = names.items
        self._value = "value" if client.largest is None else f"IF(size > {client.largest + 1}, NULL, value)"
        # Only by its key: a scan would wait for locks on unrelated rows.
        self._by_key = f"{names.items} AS items FORCE INDEX (PRIMARY)"

    async def fetch(self, connection: Any, keys: Sequence[Key], values: bool) -> list[Item | None]:
        """Return the live items at these keys, in order, as seen by one statement."""
        rows = await self._client.read(
            connection,
            f"SELECT {packed(self._value if values else _NOTHING)} FROM {self._items} AS items WHERE id IN ({_list(keys)})",
        )
        found = {item.key: item for item in map(item_of, rows) if item.ttl_ms is None or item.ttl_ms > 0}
        return [found.get(key) for key in keys]

    async def list_page(
        self,
        connection: Any,
        range: Range,
    ) -> Page:
        """Return one page, read by one statement and so as one snapshot."""
        low, high = between(replace(range, after=None))
        within = [f"id >= {literal(low)}"] if low else []
        within += [f"id > {literal(range.after)}"] if range.after is not None else []
        within += [f"id < {literal(high)}"] if high is not None else []
        order = "DESC" if range.reverse else "ASC"
        found = (
            f"FROM {self._by_key} WHERE {' AND '.join([*within, ALIVE])} ORDER BY id {order} LIMIT {range.limit + 1}"
        )
        if not range.values:
            rows = await self._client.read(connection, f"SELECT {packed(_NOTHING)} {found}")
            return to_page(map(item_of, rows), range.limit)
        # Read the sizes, which are stored separately, and then as many values as fit.
        rows = await self._client.read(
            connection,
            f"SELECT {packed(self._value)} FROM "
            f"(SELECT id, SUM(size) OVER (ORDER BY id {order}) - size AS already FROM (SELECT id, size {found}) AS page) "
            f"AS summed JOIN {self._items} AS items ON items.id = summed.id "
            f"WHERE already <= {_PAGE_BYTES} ORDER BY summed.id {order}",
        )
        items = list(map(item_of, rows))
        page = to_page(items, range.limit)
        if page.next is None and items and len(items) <= range.limit and _filled(items):
            return Page(page.items, page.items[-1].key)  # the server stopped at the size limit
        return page

    async def put(self, connection: Any, puts: Sequence[Put]) -> None:
        """Run unconditional puts, each with a different key, in one transaction.

        The time is read after their rows are locked, so an item does not expire while waiting for another writer.
        """
        puts = sorted(puts, key=lambda put: put.key)
        alone = len(puts) == 1 and puts[0].ttl_ms is None and not self._client.options.multi_statements
        now = NOW if alone else "@limpet_now"
        rows = []
        for put in puts:
            value = to_bytes(put.value)
            expires = f"{now} + {put.ttl_ms}" if isinstance(put.ttl_ms, int) else "NULL"
            rows.append(f"({literal(put.key)},{literal(value)},{len(value)},{literal(put.etag)},{now},{expires})")
        first: list[str] = []
        if not alone:
            first = [
                f"SET @limpet_locked = (SELECT COUNT(*) FROM {self._by_key} WHERE id IN ({_list(part)}) FOR UPDATE)"
                for part in _parts([put.key for put in puts])
            ]
            first.append(f"SET @limpet_now = {NOW}")
        await self._client.write(connection, [*first, *self._inserts(rows, _REPLACE_OTHERS)])

    async def append(self, connection: Any, unit: Append) -> int | None:
        """Append to a log in its expected state; `None` if it is refused or starts a log, which `evaluate` decides.

        One round trip. The counter is locked first, as in every batch, and then the check, with a shared lock, so that
        it holds until the commit and appends to other logs continue. Only then is the time read.
        """
        cond = "" if unit.check.cond is If.PRESENT else f" AND etag = {literal(unit.check.cond)}"
        check_row = f"{self._by_key} WHERE id = {literal(unit.check.key)}"
        following = f"@limpet_first + {len(unit.puts)}"
        entries = " UNION ALL ".join(
            f"SELECT CONCAT({literal(put.key + '!')}, LPAD(@limpet_first + {place}, 16, '0')), {literal(value)}, "
            f"{len(value)}, {literal(put.etag)}, @limpet_now, "
            + (f"@limpet_now + {put.ttl_ms}" if isinstance(put.ttl_ms, int) else "NULL")
            + " FROM DUAL WHERE @limpet_first IS NOT NULL"
            for place, put in enumerate(unit.puts)
            for value in (to_bytes(put.value),)
        )
        lock = (
            f"SET @limpet_first = (SELECT CAST(SUBSTRING(value, 2) AS UNSIGNED) FROM {self._by_key} "
            f"WHERE id = {literal(unit.log)} AND size BETWEEN 2 AND 16 "
            "AND value = CONCAT('t', CAST(SUBSTRING(value, 2) AS UNSIGNED)) FOR UPDATE)"
        )
        hold = f"SET @limpet_checked = (SELECT 1 FROM {check_row} LOCK IN SHARE MODE)"
        check = (
            f"SET @limpet_now = {NOW}, @limpet_first = IF("
            f"EXISTS(SELECT 1 FROM {self._by_key} WHERE id = {literal(unit.log)} AND {ALIVE}) "
            f"AND EXISTS(SELECT 1 FROM {check_row}{cond} AND {ALIVE}), @limpet_first, NULL)"
        )
        count = (
            f"UPDATE {self._by_key} SET value = CONCAT('t', LAST_INSERT_ID({following})), size = 1 + LENGTH({following}), "
            f"etag = {literal(new_etag())}, updated_at = @limpet_now "
            f"WHERE id = {literal(unit.log)} AND @limpet_first IS NOT NULL"
        )
        store = f"INSERT INTO {self._items} {COLUMNS} {entries} {_REPLACE}"
        *_, counted, _, _ = await self._client.begin(connection, [lock, hold, check, count, store, "COMMIT"])
        return counted.inserted - len(unit.puts) if counted.inserted else None

    async def play(self, connection: Any, units: Sequence[Unit]) -> tuple[list[Outcome], list[str]]:
        """Begin a transaction, lock and evaluate.

        Return the outcomes, and how to end it. Raises `SerializationFailure`.
        """
        wanted = keys_to_read(units)
        results = await self._client.begin(connection, [*self._locks(wanted), f"SELECT {NOW}"])
        now = int(results[-1].rows[0][0])
        records: dict[Key, Record | None] = dict(record_of(row) for result in results[:-1] for row in result.rows)
        evaluation = evaluate(units, now, records)
        absent = [key for key in wanted if key not in records]
        if absent and any(isinstance(outcome, ConflictError) for outcome in evaluation.outcomes):
            # What was locked cannot change, but what was absent may exist now: a refusal must be true at one moment.
            (result,) = await self._client.run(
                connection, f"SELECT COUNT(*) FROM {self._by_key} WHERE id IN ({_list(absent)})"
            )
            if int(result.rows[0][0]):
                raise SerializationFailure
        todo = row_changes(units, evaluation, records, now)
        return evaluation.outcomes, [
            *self._inserts(rows_of(todo.changed), _REPLACE),
            *self._inserts(rows_of(todo.new), ""),  # fails if another writer was faster
            *self._deletes(todo.deleted),
        ]

    async def clear(self, connection: Any, base: Key) -> tuple[int, bool]:
        """Remove some of what is below `base`. Return how many live items that were, and whether there may be more."""
        low, high = below(base)
        within = [f"id >= {literal(low)}"]
        within += [f"id < {literal(high)}"] if high is not None else []
        some = (
            f"SELECT id, {ALIVE} FROM {self._by_key} WHERE {' AND '.join(within)} ORDER BY id "
            f"LIMIT {_REMOVED_AT_ONCE} FOR UPDATE"
        )
        (result,) = await self._client.begin(connection, [some])
        keys = [row[0].decode() for row in result.rows]
        await self._client.commit(connection, list(self._deletes(keys)))
        lived = sum(int(row[1]) for row in result.rows)
        return lived, len(keys) == _REMOVED_AT_ONCE

    async def free(self, connection: Any, limit: int = _REMOVED_AT_ONCE) -> tuple[int, bool]:
        """Remove up to `limit` expired items that nobody uses. Return how many, and whether there may be more."""
        some = (
            f"SELECT id FROM {self._items} WHERE expires_at <= {NOW} ORDER BY expires_at "
            f"LIMIT {limit} FOR UPDATE SKIP LOCKED"
        )
        (result,) = await self._client.begin(connection, [some])
        keys = sorted(row[0].decode() for row in result.rows)
        await self._client.commit(connection, list(self._deletes(keys)))
        return len(keys), len(keys) > 0

    def _locks(self, wanted: dict[Key, bool]) -> Iterator[str]:
        """Yield the counters of logs first, then the others in key order: everybody locks in this order."""
        counters = [key for key in wanted if is_counter(key)]
        others = [key for key in wanted if not is_counter(key)] if counters else list(wanted)
        for keys in (*_parts(counters), *_parts(others)):
            valued = [key for key in keys if wanted[key]]
            value = self._value if len(valued) == len(keys) else _NOTHING
            if 0 < len(valued) < len(keys):
                value = f"IF(id IN ({_list(valued)}), {self._value}, {_NOTHING})"
            yield (
                f"SELECT {packed(value, expires='expires_at')} FROM {self._by_key} "
                f"WHERE id IN ({_list(keys)}) ORDER BY id FOR UPDATE"
            )

    def _inserts(self, rows: Iterable[str], otherwise: str) -> Iterator[str]:
        """Yield rows in as few statements as the server's packets allow."""
        room = self._client.room
        part: list[str] = []
        size = 0
        for row in rows:
            if part and size + len(row) > room:
                yield f"INSERT INTO {self._items} {COLUMNS} VALUES {','.join(part)} {otherwise}"
                part, size = [], 0
            part.append(row)
            size += len(row) + 1
        if part:
            yield f"INSERT INTO {self._items} {COLUMNS} VALUES {','.join(part)} {otherwise}"

    def _deletes(self, keys: Sequence[Key]) -> Iterator[str]:
        for part in _parts(keys):
            yield f"DELETE items FROM {self._by_key} WHERE items.id IN ({_list(part)})"


def _list(keys: Iterable[Key]) -> str:
    return ",".join(map(literal, keys))


def _parts(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        yield keys[start : start + _KEYS_AT_ONCE]


def _filled(items: Sequence[Item]) -> bool:
    return sum(1 + size_of(item.value) for item in items if item.value is not None) > _PAGE_BYTES
