"""What is stored: one table, a view for people, two functions; and rows to items."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from limpet import ConfigurationError, FormatError
from limpet.driver import Etag, Item, Key
from limpet.driver.kit import Record, from_bytes

__all__ = ["BEGAN", "MIGRATIONS", "NOW", "Names", "add_triggers", "item_of", "migrate", "record_of"]

_MILLISECONDS = "pg_catalog.floor(EXTRACT(epoch FROM pg_catalog.{}())::numeric * 1000.0)::bigint"
NOW = _MILLISECONDS.format("clock_timestamp")
"""Milliseconds since 1970 by the server's clock, at this very moment: used by writes, once they have their locks."""
BEGAN = _MILLISECONDS.format("statement_timestamp")
"""The same at the start of the statement: used by reads, so that all rows are evaluated at one moment."""
_PATH = "SET search_path = pg_catalog, pg_temp"
"""For functions: whatever others create in a schema on the caller's path, our functions do not call it."""
_INVOKER_VIEWS = 150_000
"""Since PostgreSQL 15, a view can read with the rights, and the row security, of its caller."""


class Names:
    """The table and its related names, quoted."""

    def __init__(self, schema: str, table: str) -> None:
        self.schema = f'"{schema}"'
        self.items = f'"{schema}"."{table}"'
        self.versions = f'"{schema}"."{table}_version"'
        self.expiry = f'"{table}_expiry"'
        self.view = f'"{schema}"."{table}_view"'
        self.to_json = f'"{schema}"."{table}_to_json"'
        self.append = f'"{schema}"."{table}_append"'
        self.notify = f'"{schema}"."{table}_notify"'
        self.trigger = f"{table}_notify"
        channel = f"{schema}.{table}"
        self.channel = channel if len(channel) < 64 else f"limpet.{sha256(channel.encode()).hexdigest()[:48]}"
        """Channel names have at most 63 characters."""
        self.lock = f"limpet {schema}.{table}"


def _tables(names: Names, server: int) -> Sequence[str]:
    return (
        # COLLATE "C": keys sort by bytes, whatever the database's collation. A value is a byte that distinguishes text
        # from bytes, followed by the value: TEXT would refuse U+0000.
        f"""
        CREATE TABLE {names.items} (
            key text COLLATE "C" PRIMARY KEY,
            value bytea NOT NULL,
            etag text COLLATE "C" NOT NULL,
            updated_at bigint NOT NULL,
            expires_at bigint
        )
        """,
        f"CREATE INDEX {names.expiry} ON {names.items} (expires_at) WHERE expires_at IS NOT NULL",
    )


def _functions(names: Names, server: int) -> Sequence[str]:
    invoker = "WITH (security_invoker = true)" if server >= _INVOKER_VIEWS else ""
    return (
        f"""
        CREATE OR REPLACE FUNCTION {names.to_json}(value bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT {_PATH} AS $$
        BEGIN
            IF get_byte(value, 0) = 116 THEN RETURN convert_from(substr(value, 2), 'UTF8')::jsonb; END IF;
            RETURN NULL;
        EXCEPTION WHEN data_exception OR program_limit_exceeded OR untranslatable_character THEN RETURN NULL;
        END $$
        """,
        f"""
        CREATE OR REPLACE VIEW {names.view} {invoker} AS SELECT
            key, {names.to_json}(value) AS json, value AS stored, etag,
            to_timestamp(updated_at / 1000.0) AS updated_at, to_timestamp(expires_at / 1000.0) AS expires_at
        FROM {names.items} WHERE expires_at IS NULL OR expires_at > {BEGAN}
        """,
        # The counter first, as in every batch. The check is locked too, so it holds until the commit, with a shared
        # lock, so that appends to other logs with the same check continue. One "now", once both are locked.
        f"""
        CREATE OR REPLACE FUNCTION {names.append}(
            counter text, checked text, cond text, counter_etag text, entries text[], vals bytea[], etags text[],
            ttls bigint[]
        ) RETURNS bigint LANGUAGE plpgsql VOLATILE {_PATH} AS $$
        DECLARE
            moment bigint; counted bytea; counted_until bigint; found_etag text; checked_until bigint; number numeric;
            added int := cardinality(entries);
        BEGIN
            SELECT value, expires_at INTO counted, counted_until FROM {names.items} WHERE key = counter FOR UPDATE;
            IF NOT FOUND OR octet_length(counted) NOT BETWEEN 2 AND 16 OR encode(counted, 'escape') !~ '^t[0-9]+$' THEN
                RETURN NULL;
            END IF;
            SELECT etag, expires_at INTO found_etag, checked_until FROM {names.items} WHERE key = checked FOR SHARE;
            IF NOT FOUND OR found_etag <> cond THEN RETURN NULL; END IF;
            moment := {NOW};
            IF counted_until <= moment OR checked_until <= moment THEN RETURN NULL; END IF;
            number := convert_from(substr(counted, 2), 'UTF8')::numeric;
            UPDATE {names.items} SET value = convert_to('t' || (number + added)::text, 'UTF8'),
                etag = counter_etag, updated_at = moment WHERE key = counter;
            INSERT INTO {names.items} (key, value, etag, updated_at, expires_at)
                SELECT entry || '!' || lpad((number + place - 1)::text, 16, '0'), val, tag, moment, moment + ttl
                FROM unnest(entries, vals, etags, ttls) WITH ORDINALITY AS new (entry, val, tag, ttl, place)
                ON CONFLICT (key) DO UPDATE SET value = excluded.value, etag = excluded.etag,
                    updated_at = excluded.updated_at, expires_at = excluded.expires_at;
            RETURN number;
        END $$
        """,
    )


MIGRATIONS = (_tables, _functions)
"""The statements from each version to the next. A database without our tables has version 0."""


async def migrate(connection: Any, names: Names, place: str) -> None:
    """Upgrade the tables in one transaction. However many processes start at once, only one does it.

    Raises `FormatError` for tables of a newer release, and `ConfigurationError` for a database that cannot store all
    text or has something else under one of our names.
    """
    encoding = await connection.fetchval("SELECT pg_catalog.current_setting('server_encoding')")
    if encoding != "UTF8":
        raise ConfigurationError(
            f"{place}: the database's encoding is {encoding}, which cannot store all text: create one with UTF8 "
            "(CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0)"
        )
    if await _exists(connection, names.versions) and await _version(connection, names, place) == len(MIGRATIONS):
        return
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(f"{_PATH.replace('SET', 'SET LOCAL', 1)}")
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))", names.lock)
        if not await connection.fetchval("SELECT to_regnamespace($1::text) IS NOT NULL", names.schema):
            await connection.execute(f"CREATE SCHEMA {names.schema}")
        if not await _exists(connection, names.versions):
            await _check_names(connection, names, place)
            await connection.execute(f"CREATE TABLE {names.versions} (version int NOT NULL)")
        version = await _version(connection, names, place)
        server = int(await connection.fetchval("SELECT current_setting('server_version_num')"))
        for migration in MIGRATIONS[version:]:
            for statement in migration(names, server):
                await connection.execute(statement)
        await connection.execute(f"DELETE FROM {names.versions}")
        await connection.execute(f"INSERT INTO {names.versions} VALUES ($1)", len(MIGRATIONS))


async def _exists(connection: Any, relation: str) -> bool:
    return bool(await connection.fetchval("SELECT pg_catalog.to_regclass($1::text) IS NOT NULL", relation))


async def _check_names(connection: Any, names: Names, place: str) -> None:
    """Check that the names are free, because others may use them: the view of a table `x` is `x_view`, for example."""
    for relation in (names.items, names.view, f"{names.schema}.{names.expiry}"):
        if await _exists(connection, relation):
            raise ConfigurationError(
                f"{place}: there is a {relation} that does not belong to this table: choose another 'table' or 'schema'"
            )


async def add_triggers(connection: Any, names: Names) -> None:
    """Make the table announce every change, whoever makes it. The triggers stay until someone drops them."""
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(f"{_PATH.replace('SET', 'SET LOCAL', 1)}")
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))", names.lock)
        there = await connection.fetchval(
            "SELECT count(*) FROM pg_trigger AS made JOIN pg_proc AS called ON called.oid = made.tgfoid "
            "WHERE made.tgrelid = $1::text::regclass AND starts_with(made.tgname::text, $2::text) "
            "AND called.proconfig IS NOT NULL",
            names.items,
            names.trigger,
        )
        if there:
            return
        await connection.execute(
            f"""
            CREATE OR REPLACE FUNCTION {names.notify}() RETURNS trigger LANGUAGE plpgsql {_PATH} AS $$
            DECLARE
                keys text;
            BEGIN
                SELECT string_agg(key, E'\\n') INTO keys FROM changed;
                IF keys IS NOT NULL THEN
                    PERFORM pg_notify('{names.channel}', CASE WHEN octet_length(keys) < 7900 THEN keys ELSE '' END);
                END IF;
                RETURN NULL;
            END $$
            """
        )
        for verb, rows in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            await connection.execute(f'DROP TRIGGER IF EXISTS "{names.trigger}_{verb.lower()}" ON {names.items}')
            await connection.execute(
                f'CREATE TRIGGER "{names.trigger}_{verb.lower()}" AFTER {verb} ON {names.items} '
                f"REFERENCING {rows} TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION {names.notify}()"
            )


async def _version(connection: Any, names: Names, place: str) -> int:
    version = int(await connection.fetchval(f"SELECT coalesce(pg_catalog.max(version), 0) FROM {names.versions}"))
    if version > len(MIGRATIONS):
        raise FormatError(
            f"{place} was written by a newer release of Limpet (version {version} of its tables; this release reads "
            f"up to {len(MIGRATIONS)}): upgrade limpet-postgresql"
        )
    return version


def record_of(row: Any) -> tuple[Key, Record]:
    """Return the record in a row of (key, value or NULL, etag, updated_at, expires_at)."""
    key, value, etag, updated_at, expires_at = row
    return key, Record(None if value is None else from_bytes(value), etag, updated_at, expires_at)


def item_of(row: Any) -> Item:
    """Return the item in a row of (key, value or NULL, etag, updated_at, remaining time)."""
    key, value, etag, updated_at, left = row
    return Item(key, None if value is None else from_bytes(value), Etag(etag), updated_at, left)
