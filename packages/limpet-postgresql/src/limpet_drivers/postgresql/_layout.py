"""What is stored: one table, a view for people, two functions; and rows to items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from limpet import FormatError
from limpet.driver import Etag, Item, Key
from limpet.driver.kit import Record, from_bytes

__all__ = ["MIGRATIONS", "NOW", "Names", "add_triggers", "item_of", "migrate", "record_of"]

NOW = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
"""Milliseconds since 1970 by the server's clock, at this very moment and not at the beginning of the transaction."""


class Names:
    """The table and what hangs on it, quoted."""

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
        self.channel = f"{schema}.{table}"
        self.lock = f"limpet {schema}.{table}"


def _first(names: Names) -> Sequence[str]:
    return (
        # COLLATE "C": keys sort by their bytes, whatever the database's collation. A value is a byte that tells text
        # from bytes and then the value: TEXT would refuse U+0000.
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
        f"""
        CREATE FUNCTION {names.to_json}(value bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT AS $$
        BEGIN
            IF get_byte(value, 0) = 116 THEN RETURN convert_from(substr(value, 2), 'UTF8')::jsonb; END IF;
            RETURN NULL;
        EXCEPTION WHEN data_exception OR program_limit_exceeded OR untranslatable_character THEN RETURN NULL;
        END $$
        """,
        f"""
        CREATE VIEW {names.view} AS SELECT
            key, {names.to_json}(value) AS json, value AS stored, etag,
            to_timestamp(updated_at / 1000.0) AS updated_at, to_timestamp(expires_at / 1000.0) AS expires_at
        FROM {names.items} WHERE expires_at IS NULL OR expires_at > {NOW}
        """,
        # The counter first and the check after it, in a snapshot of its own: who cuts the log writes the counter too,
        # so the two never overlap. One round trip, and no lock on what all appenders check.
        f"""
        CREATE FUNCTION {names.append}(
            counter text, checked text, cond text, counter_etag text, entries text[], vals bytea[], etags text[],
            ttls bigint[]
        ) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
        DECLARE
            moment bigint; number numeric; added int := cardinality(entries);
        BEGIN
            SELECT convert_from(substr(items.value, 2), 'UTF8')::numeric INTO number FROM {names.items} AS items
                WHERE items.key = counter AND (items.expires_at IS NULL OR items.expires_at > {NOW})
                AND octet_length(items.value) BETWEEN 2 AND 16 AND encode(items.value, 'escape') ~ '^t[0-9]+$'
                FOR UPDATE;
            IF NOT FOUND THEN RETURN NULL; END IF;
            moment := {NOW};
            PERFORM 1 FROM {names.items} AS items WHERE items.key = checked
                AND (items.etag = cond OR cond IS NULL) AND (items.expires_at IS NULL OR items.expires_at > moment);
            IF NOT FOUND THEN RETURN NULL; END IF;
            UPDATE {names.items} AS items SET value = convert_to('t' || (number + added)::text, 'UTF8'),
                etag = counter_etag, updated_at = moment WHERE items.key = counter;
            INSERT INTO {names.items} (key, value, etag, updated_at, expires_at)
                SELECT entry || '!' || lpad((number + place - 1)::text, 16, '0'), val, tag, moment, moment + ttl
                FROM unnest(entries, vals, etags, ttls) WITH ORDINALITY AS new (entry, val, tag, ttl, place)
                ON CONFLICT (key) DO UPDATE SET value = excluded.value, etag = excluded.etag,
                    updated_at = excluded.updated_at, expires_at = excluded.expires_at;
            RETURN number;
        END $$
        """,
    )


MIGRATIONS = (_first,)
"""What leads from each version to the next; a database without our tables has version 0."""


async def migrate(connection: Any, names: Names, place: str) -> None:
    """Bring the tables to the newest version in one transaction; however many processes start at once, one does it.

    Raises `FormatError` for tables of a newer release.
    """
    exists = await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", names.versions)
    if exists and await _version(connection, names, place) == len(MIGRATIONS):
        return
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", names.lock)
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {names.schema}")
        await connection.execute(f"CREATE TABLE IF NOT EXISTS {names.versions} (version int NOT NULL)")
        version = await _version(connection, names, place)
        for migration in MIGRATIONS[version:]:
            for statement in migration(names):
                await connection.execute(statement)
        await connection.execute(f"DELETE FROM {names.versions}")
        await connection.execute(f"INSERT INTO {names.versions} VALUES ($1)", len(MIGRATIONS))


async def add_triggers(connection: Any, names: Names) -> None:
    """Let the table tell of every change, whoever makes it; they stay until somebody drops them."""
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", names.lock)
        there = await connection.fetchval(
            "SELECT count(*) FROM pg_trigger WHERE tgrelid = $1::regclass AND starts_with(tgname, $2)",
            names.items,
            names.trigger,
        )
        if there:
            return
        await connection.execute(
            f"""
            CREATE FUNCTION {names.notify}() RETURNS trigger LANGUAGE plpgsql AS $$
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
            await connection.execute(
                f'CREATE TRIGGER "{names.trigger}_{verb.lower()}" AFTER {verb} ON {names.items} '
                f"REFERENCING {rows} TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION {names.notify}()"
            )


async def _version(connection: Any, names: Names, place: str) -> int:
    version = int(await connection.fetchval(f"SELECT coalesce(max(version), 0) FROM {names.versions}"))
    if version > len(MIGRATIONS):
        raise FormatError(
            f"{place} was written by a newer release of Limpet (version {version} of its tables; this release reads "
            f"up to {len(MIGRATIONS)}): upgrade limpet-postgresql"
        )
    return version


def record_of(row: Any) -> tuple[Key, Record]:
    """A row of (key, value or NULL, etag, updated_at, expires_at)."""
    key, value, etag, updated_at, expires_at = row
    return key, Record(None if value is None else from_bytes(value), etag, updated_at, expires_at)


def item_of(row: Any) -> Item:
    """A row of (key, value or NULL, etag, updated_at, what is left)."""
    key, value, etag, updated_at, left = row
    return Item(key, None if value is None else from_bytes(value), Etag(etag), updated_at, left)
