"""The stored form: one table, its versions, and recognizing files of other programs."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import lru_cache

from limpet import CorruptDataError, FormatError

__all__ = ["APPLICATION_ID", "MIGRATIONS", "identify", "migrate"]

APPLICATION_ID = 0x4C494D50
"""`LIMP`, in the header of each of our files: `file` and SQLite show it."""

# A rowid table, although the key is the primary key: WITHOUT ROWID is two to four times slower with values of 1 KB and
# takes three times the space. A value is stored as TEXT or BLOB, so it comes back as it was put.
_FIRST = (
    """
    CREATE TABLE items (
        key TEXT NOT NULL PRIMARY KEY,
        value NOT NULL,
        etag TEXT NOT NULL,
        updated_at INTEGER NOT NULL,
        expires_at INTEGER
    )
    """,
    "CREATE INDEX items_by_expiry ON items (expires_at) WHERE expires_at IS NOT NULL",
)

MIGRATIONS: Sequence[Sequence[str]] = (_FIRST,)
"""The statements from each version of the schema to the next. An empty file has version 0."""

_AGENTX = {"kv_storage", "unstorage"}
_MOST_OBJECTS = 1000
_TAKEN = {"items", "items_by_expiry", "json_each"}
"""Names that our statements use."""
_BESIDE = re.compile(r"""CREATE (?:TABLE|VIEW) (["']?)(\w+)\1\s*[(A]""", re.IGNORECASE)
_INDEX = re.compile(r"""CREATE (?:UNIQUE )?INDEX ["']?\w+["']? ON (["']?)(\w+)\1\s*\(""", re.IGNORECASE)
_AUTOMATIC = re.compile(r"sqlite_autoindex_(\w+)_[0-9]+")
_NAYLENCE = "kv_"
"""How the names of Naylence's tables start; the name of a model follows."""


def identify(connection: sqlite3.Connection, place: str) -> int:
    """Return the version of the schema, 0 for an empty database. Raises `FormatError` for a file that is not ours."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application == APPLICATION_ID:
        if version > len(MIGRATIONS):
            raise FormatError(
                f"{place} was written by a newer release of Limpet (version {version} of its tables; this release "
                f"reads up to {len(MIGRATIONS)}): upgrade limpet-sqlite"
            )
        if version < 1:
            raise CorruptDataError(f"{place} lacks the version of its tables: restore a backup")
        _check_schema(connection, int(version), place)
        return int(version)
    tables = sorted(str(name) for kind, name, _ in _schema(connection, place) if kind == "table")
    if _AGENTX & set(tables):
        raise FormatError(
            f"{place} is a database of AgentX (table {', '.join(sorted(_AGENTX & set(tables)))}): choose another file "
            "for Limpet. It was left unchanged"
        )
    if tables and all(table.startswith(_NAYLENCE) for table in tables):
        raise FormatError(
            f"{place} is a database of Naylence (table {', '.join(tables)}): choose another file or folder for "
            "Limpet. It was left unchanged"
        )
    if tables or application or version:
        named = ", ".join(tables[:3]) + (", ..." if len(tables) > 3 else "")
        raise FormatError(
            f"{place} belongs to another program (tables: {named or 'none'}; application id {application}): choose "
            "another file. It was left unchanged"
        )
    return 0


def _schema(connection: sqlite3.Connection, place: str) -> list[tuple[str, str, str | None]]:
    """Return kind, name and statement of everything in the schema. Reading the schema runs nothing in it."""
    try:
        rows = connection.execute(
            "SELECT type, name, sql FROM main.sqlite_master LIMIT ?", (_MOST_OBJECTS + 1,)
        ).fetchall()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_AUTH:
            raise CorruptDataError(f"{place} does not have the expected schema. It was left unchanged") from error
        raise
    if len(rows) > _MOST_OBJECTS:
        raise FormatError(f"{place} has more than {_MOST_OBJECTS} tables, indexes and views: choose another file")
    return [(str(kind), str(name), None if sql is None else str(sql)) for kind, name, sql in rows]


def _check_schema(connection: sqlite3.Connection, version: int, place: str) -> None:
    """Refuse a file with anything else in place of our tables, or attached to them, before a statement reaches it.

    Other tables, views and plain indexes are allowed. The schema's other columns are not trusted: only
    the statements count.
    """
    missing = {(name, _normal(sql)) for _, name, sql in _ours(version)}
    theirs: set[str] = set()
    for _, name, sql in _schema(connection, place):
        if (name, _normal(sql)) in missing:
            missing.remove((name, _normal(sql)))
        elif sql is not None and (made := _BESIDE.match(sql)) and made[2].lower() == name.lower() not in _TAKEN:
            theirs.add(name.lower())
        elif (sql is not None and (made := _INDEX.match(sql)) and made[2].lower() not in _TAKEN) or (
            sql is None and (made := _AUTOMATIC.match(name)) and made[1].lower() in theirs
        ):
            continue
        else:
            raise CorruptDataError(
                f"{place} holds {name!r}, which Limpet did not create and will not run. It was left "
                "unchanged: choose another file, or drop it if it is yours"
            )
    if missing:
        raise CorruptDataError(
            f"{place} lacks {', '.join(sorted(name for name, _ in missing))}, or has it in a different form than Limpet created "
            "it. It was left unchanged: restore a backup"
        )


@lru_cache
def _ours(version: int) -> list[tuple[str, str, str | None]]:
    with closing(sqlite3.connect(":memory:")) as made:
        for statements in MIGRATIONS[:version]:
            for statement in statements:
                made.execute(statement)
        return made.execute("SELECT type, name, sql FROM sqlite_master").fetchall()


def _normal(sql: str | None) -> str | None:
    return None if sql is None else " ".join(sql.split())


def migrate(connection: sqlite3.Connection, place: str) -> None:
    """Upgrade the tables to the newest version in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = identify(connection, place)
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
