"""What is stored: one table, its versions, and how a file is told from somebody else's."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from limpet import CorruptDataError, FormatError

__all__ = ["APPLICATION_ID", "MIGRATIONS", "identify", "migrate"]

APPLICATION_ID = 0x4C494D50
"""`LIMP`, in the header of each of our files: `file` and SQLite show it."""

# A rowid table, although the key is the primary key: WITHOUT ROWID is two to four times slower at 1 KB values and
# takes three times the room. A value is stored as the TEXT or the BLOB that it is, so it comes back as it was put.
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
"""The statements that lead from each version of the schema to the next; an empty file has version 0."""

_AGENTX = {"kv_storage", "unstorage"}
_NAYLENCE = "kv_"
"""How the name of each of its tables begins; behind it stands the name of a model."""


def identify(connection: sqlite3.Connection, place: str) -> int:
    """The version of the schema, 0 for an empty database. Raises `FormatError` for what is not ours to read."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application == APPLICATION_ID:
        if version > len(MIGRATIONS):
            raise FormatError(
                f"{place} was written by a newer release of Limpet (version {version} of its tables; this release "
                f"reads up to {len(MIGRATIONS)}): upgrade limpet-sqlite"
            )
        if version < 1:
            raise CorruptDataError(f"{place} has lost the version of its tables: restore a backup")
        return int(version)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")]
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


def migrate(connection: sqlite3.Connection, place: str) -> None:
    """Bring the tables to the newest version in one transaction: all of it or nothing."""
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
