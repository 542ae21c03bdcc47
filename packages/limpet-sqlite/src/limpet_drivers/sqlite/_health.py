"""The health of a database."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from time import monotonic

from limpet.driver import Health
from limpet.driver.kit import host_now_ms

from ._options import Options

__all__ = ["examine"]

_CHECK_SECONDS = 1.0
_STEPS = 10_000
_LARGE_LOG = 256 * 1024 * 1024


def examine(connection: sqlite3.Connection, options: Options) -> Health:
    """Read the facts, and look for damage in the file for up to a second."""
    details = {
        "journal_mode": str(connection.execute("PRAGMA journal_mode").fetchone()[0]),
        "durability": "no" if options.path is None else options.durability,
        "check": "ok",
    }
    problems: list[str] = []
    found = _look_for_damage(connection)
    if found is None:
        details["check"] = f"not finished within {_CHECK_SECONDS:g} s; nothing wrong so far"
    elif found != ["ok"]:
        details["check"] = "damaged"
        problems.append(
            f"the database is damaged ({'; '.join(found)}): stop writing, keep a copy of all its files, restore a "
            "backup, or rescue what can be read with 'sqlite3 FILE .recover'"
        )
    if options.path is not None:
        log = Path(f"{options.path}-wal")
        log_bytes = log.stat().st_size if log.exists() else 0
        details |= {"path": str(options.path), "bytes": str(options.path.stat().st_size), "log_bytes": str(log_bytes)}
        if log_bytes > _LARGE_LOG:
            problems.append(
                f"the write-ahead log has {log_bytes} bytes because some program keeps a read transaction open; "
                "find and end it"
            )
    return Health("SQLite", sqlite3.sqlite_version, host_now_ms(), tuple(problems), details)


def _look_for_damage(connection: sqlite3.Connection) -> list[str] | None:
    """Return the result of `quick_check`; `None` if it takes longer than a second."""
    until = monotonic() + _CHECK_SECONDS
    connection.set_progress_handler(lambda: monotonic() > until, _STEPS)
    try:
        return [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return None
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        return [str(error)]
    finally:
        connection.set_progress_handler(None, 0)
