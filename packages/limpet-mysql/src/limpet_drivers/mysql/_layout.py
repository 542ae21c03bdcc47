"""What is stored: one table, a view for people, the version; and rows to items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from limpet import ConfigurationError, FormatError, TooLargeError, UnavailableError
from limpet.driver import Etag, Item, Key, Value
from limpet.driver.kit import Record, from_bytes, to_bytes

from ._errors import number_of
from ._library import ERRORS

if TYPE_CHECKING:
    from ._client import Client

__all__ = ["ALIVE", "COLUMNS", "NOW", "Names", "item_of", "literal", "migrate", "packed", "record_of", "rows_of"]

NOW = "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000)"
"""Milliseconds since 1970 by the server's clock, at the start of the statement, independent of time zones."""

ALIVE = f"(expires_at IS NULL OR expires_at > {NOW})"
_LEFT = f"expires_at - {NOW}"

COLUMNS = "(id, value, size, etag, updated_at, expires_at)"


def packed(value: str, *, expires: str = _LEFT) -> str:
    """Return SQL for a row as one column: each additional column costs as much as the rest of a short call.

    Keys and etags contain no spaces. `value` is SQL. An empty one, which is never stored, means that it was not read.
    """
    expires = f"IF(expires_at IS NULL, '', {expires})"
    return f"CONCAT(items.id, ' ', etag, ' ', updated_at, ' ', {expires}, ' ', {value})"


_NO_TABLE = 1146


class Names:
    """The table and its related names, quoted, with their database, whatever the connection's own is."""

    def __init__(self, database: str, table: str) -> None:
        quoted = database.replace("`", "``")
        self.items = f"`{quoted}`.`{table}`"
        self.versions = f"`{quoted}`.`{table}_version`"
        self.view = f"`{quoted}`.`{table}_view`"
        self.database = database
        self.table = table
        self.lock = "limpet " + sha256(f"{database}.{table}".encode()).hexdigest()[:40]
        """Lock names are global to the server, and have at most 64 characters."""


def _first(names: Names) -> Sequence[str]:
    return (
        # VARBINARY: keys sort and differ by bytes, whatever the server's collation. A value is a byte that
        # distinguishes text from bytes, followed by the value. Its size is stored separately, so that listing need not
        # read the value.
        f"""
        CREATE TABLE IF NOT EXISTS {names.items} (
            id VARBINARY(1024) NOT NULL PRIMARY KEY,
            value LONGBLOB NOT NULL,
            size INT UNSIGNED NOT NULL,
            etag VARBINARY(22) NOT NULL,
            updated_at BIGINT NOT NULL,
            expires_at BIGINT NULL,
            KEY expiry (expires_at)
        ) ENGINE=InnoDB ROW_FORMAT=DYNAMIC
        """,
        f"""
        CREATE SQL SECURITY INVOKER VIEW {names.view} AS SELECT
            CONVERT(id USING utf8mb4) AS id,
            CASE WHEN SUBSTRING(value, 1, 1) = x'74' THEN CONVERT(SUBSTRING(value, 2) USING utf8mb4) END AS text,
            SUBSTRING(value, 2) AS raw, size, CONVERT(etag USING utf8mb4) AS etag,
            FROM_UNIXTIME(updated_at / 1000) AS updated_at, FROM_UNIXTIME(expires_at / 1000) AS expires_at
        FROM {names.items} WHERE {ALIVE}
        """,
    )


MIGRATIONS = (_first,)
"""The statements from each version to the next. MySQL commits each schema statement separately: all can be repeated."""


async def migrate(client: Client, connection: Any, names: Names) -> None:
    """Upgrade the tables to the newest version. However many processes start at once, only one does it.

    Raises `FormatError` for tables of a newer release.
    """
    place, seconds = client.place, client.options.timeout
    if await _version(client, connection, names) == len(MIGRATIONS):
        return
    ((locked,),) = await client.read(connection, f"SELECT GET_LOCK('{names.lock}', {max(1, int(seconds * 0.8))})")
    if int(locked or 0) != 1:
        raise UnavailableError(f"{place}: another process has been creating its tables for {seconds:g} s: retry")
    try:
        version = await _version(client, connection, names)
        there = await _check_names(client, connection, names) if version == 0 else ""
        for migration in MIGRATIONS[version:]:
            for statement in migration(names):
                if there != "view" or " VIEW " not in statement:
                    await client.run(connection, statement)
        await client.run(
            connection, f"CREATE TABLE IF NOT EXISTS {names.versions} (version INT NOT NULL PRIMARY KEY) ENGINE=InnoDB"
        )
        await client.write(
            connection, [f"DELETE FROM {names.versions}", f"INSERT INTO {names.versions} VALUES ({len(MIGRATIONS)})"]
        )
    finally:
        if client.alive(connection):
            await client.read(connection, f"SELECT RELEASE_LOCK('{names.lock}')")


async def _check_names(client: Client, connection: Any, names: Names) -> str:
    """Check that the names are free, because others may use them: the view of a table `x` is `x_view`, for example.

    Returns "view" if our view exists already, from a process that was stopped while creating the tables.
    """
    asked = f"SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = {_text(names.database)}"
    kinds = {
        _said(name): _said(kind)
        for name, kind in await client.read(
            connection, f"{asked} AND table_name IN ({_text(names.table)}, {_text(names.table + '_view')})"
        )
    }
    columns = await client.read(
        connection,
        f"SELECT column_name FROM information_schema.columns WHERE table_schema = {_text(names.database)} "
        f"AND table_name = {_text(names.table)}",
    )
    table, view = kinds.get(names.table), kinds.get(f"{names.table}_view")
    ours = {_said(name) for (name,) in columns} == set(COLUMNS.strip("()").split(", "))
    for name, foreign in (
        (names.table, table is not None and not (ours and table == "BASE TABLE")),
        (f"{names.table}_view", view is not None and not (view == "VIEW" and table is not None)),
    ):
        if foreign:
            raise ConfigurationError(
                f"{client.place}: there is a {names.database}.{name} that does not belong to this table: choose another "
                "'table' or database"
            )
    return "" if view is None else "view"


def _text(said: str) -> str:
    return f"CONVERT({literal(said)} USING utf8mb4)"


def _said(said: object) -> str:
    return said.decode() if isinstance(said, bytes) else str(said)


async def _version(client: Client, connection: Any, names: Names) -> int:
    try:
        ((found,),) = await client.read(connection, f"SELECT MAX(version) FROM {names.versions}")
    except ERRORS as error:
        if number_of(error) != _NO_TABLE:
            raise
        await client.rollback(connection)
        return 0
    version = int(found or 0)
    if version > len(MIGRATIONS):
        raise FormatError(
            f"{client.place} was written by a newer release of Limpet (version {version} of its tables; this "
            f"release reads up to {len(MIGRATIONS)}): upgrade limpet-mysql"
        )
    return version


def literal(text: str | bytes) -> str:
    """Return text or bytes as SQL: in hexadecimal digits, which mean the same in every session."""
    return f"x'{(text.encode() if isinstance(text, str) else text).hex()}'"


def rows_of(records: Mapping[Key, Record]) -> list[str]:
    """Return rows of `COLUMNS` as SQL."""
    rows = []
    for key, record in records.items():
        value = to_bytes(record.value if record.value is not None else "")
        expires = "NULL" if record.expires_at is None else record.expires_at
        rows.append(
            f"({literal(key)},{literal(value)},{len(value)},{literal(record.etag)},{record.updated_at},{expires})"
        )
    return rows


def record_of(row: Sequence[Any]) -> tuple[Key, Record]:
    """Return a packed row whose expiry is a point in time."""
    key, value, etag, updated_at, expires_at = _unpacked(row)
    return key, Record(value, etag, updated_at, expires_at)


def item_of(row: Sequence[Any]) -> Item:
    """Return a packed row whose expiry is a remaining time."""
    return Item(*_unpacked(row))


def _unpacked(row: Sequence[Any]) -> tuple[Key, Value | None, Etag, int, int | None]:
    if row[0] is None:
        raise TooLargeError(
            "a stored value is larger than what comes through: raise the server's max_allowed_packet again, or read it "
            "with client='aiomysql'"
        )
    key, etag, updated_at, expires, value = row[0].split(b" ", 4)
    return (
        key.decode(),
        from_bytes(value) if value else None,
        Etag(etag.decode()),
        int(updated_at),
        int(expires) if expires else None,
    )
