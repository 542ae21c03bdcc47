"""The health of a server."""

from __future__ import annotations

from typing import Any, Literal

from limpet import ConfigurationError
from limpet.driver import Health

from ._layout import NOW, Names
from ._options import Options

__all__ = ["check_path", "durability", "examine", "pooled"]


async def durability(connection: Any) -> Literal["process", "disk"]:
    """Return whether a commit waits for the disk, for this user and database."""
    fsync = await connection.fetchval("SHOW fsync")
    commit = await connection.fetchval("SHOW synchronous_commit")
    return "disk" if fsync == "on" and commit != "off" else "process"


async def pooled(connection: Any, options: Options) -> bool:
    """Return whether connection settings never arrived: a pooler answers for the server, and we were not told."""
    return not options.pgbouncer and await connection.fetchval("SHOW jit") != "off"


async def check_path(connection: Any, place: str) -> None:
    """Raise `ConfigurationError` if a session looks for functions and operators elsewhere before `pg_catalog`.

    Anyone who can create objects there could make the application run their code.
    """
    path = await connection.fetchval("SELECT pg_catalog.current_schemas(true)::text[]")
    others = [schema for schema in path if not schema.startswith("pg_temp_")]
    if others[:1] != ["pg_catalog"]:
        raise ConfigurationError(
            f"{place}: search_path names {others[0]} before pg_catalog: remove pg_catalog from it, so that it comes first"
        )


async def examine(connection: Any, options: Options) -> Health:
    """Read the facts, and what an operator should know."""
    names = Names(options.schema, options.table)
    version, clock, size, recovering = await connection.fetchrow(
        f"SELECT pg_catalog.current_setting('server_version'), {NOW}, "
        "pg_catalog.pg_total_relation_size($1::text::regclass), pg_catalog.pg_is_in_recovery()",
        names.items,
    )
    fsync, commit = await connection.fetchval("SHOW fsync"), await connection.fetchval("SHOW synchronous_commit")
    problems = []
    if fsync != "on":
        problems.append("fsync is off: a loss of power damages the whole database; set fsync = on")
    if commit == "off":
        problems.append(
            "synchronous_commit is off: a crash loses the last writes; set it to on for this user or database"
        )
    if recovering:
        problems.append("this server is a standby and cannot be written to: connect to the primary")
    details = {"table": f"{options.schema}.{options.table}", "bytes": str(size), "synchronous_commit": str(commit)}
    return Health("PostgreSQL", str(version), int(clock), tuple(problems), details)
