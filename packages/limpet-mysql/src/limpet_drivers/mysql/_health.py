"""The health of a server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from limpet import ConfigurationError
from limpet.driver import Health

from ._client import Client
from ._layout import NOW, Names, literal

__all__ = ["Server", "durability", "examine", "look"]

_ASKED = (
    "binlog_format",
    "innodb_flush_log_at_trx_commit",
    "innodb_doublewrite",
    "innodb_flush_method",
    "log_bin",
    "max_allowed_packet",
    "read_only",
    "sync_binlog",
    "version",
    "wsrep_on",
)
Server = Mapping[str, str]
"""Settings by lower-case name, without those that this server does not have."""

_LEAST = {"MySQL": (8, 0), "MariaDB": (10, 6)}


async def look(client: Client, connection: Any) -> Server:
    """Return the server's settings. Raises `ConfigurationError` if it is too old."""
    names = ", ".join(f"'{name}'" for name in _ASKED)
    rows = await client.read(connection, f"SHOW VARIABLES WHERE Variable_name IN ({names})")
    server = {_text(row[0]).lower(): _text(row[1]) for row in rows if len(row) == 2}
    if not server.get("max_allowed_packet", "").isdecimal() or "version" not in server:
        raise ConfigurationError(f"{client.place} does not say its settings, as MySQL does: check the address")
    found = re.match(r"(\d+)\.(\d+)", server.get("version", ""))
    least = _LEAST[product(server)]
    if found is not None and (int(found[1]), int(found[2])) < least:
        raise ConfigurationError(
            f"{client.place} is {product(server)} {server['version']}: {least[0]}.{least[1]} or newer is required"
        )
    if server.get("log_bin") in ("ON", "1") and server.get("binlog_format") == "STATEMENT":
        raise ConfigurationError(
            f"{client.place}: binlog_format is STATEMENT, but InnoDB refuses READ COMMITTED writes with it: set it to ROW "
            "(or MIXED)"
        )
    return server


def product(server: Server) -> str:
    """The name of the product."""
    return "MariaDB" if "mariadb" in server.get("version", "").lower() else "MySQL"


def durability(server: Server) -> Literal["process", "disk"]:
    """Return whether a commit waits for the disk. With a binary log, what is missing in it is undone after a crash."""
    logged = server.get("log_bin", "OFF") not in ("ON", "1") or server.get("sync_binlog") == "1"
    synced = server.get("innodb_flush_log_at_trx_commit") == "1" and server.get("innodb_flush_method") != "nosync"
    return "disk" if synced and logged else "process"


async def examine(client: Client, connection: Any, names: Names) -> Health:
    """Read the facts, and what an operator should know."""
    server = await look(client, connection)
    ((clock,),) = await client.read(connection, f"SELECT {NOW}")
    sizes = await client.read(
        connection,
        "SELECT data_length + index_length FROM information_schema.tables "
        f"WHERE table_schema = CONVERT({literal(names.database)} USING utf8mb4) AND table_name = '{names.table}'",
    )
    problems = []
    if (flush := server.get("innodb_flush_log_at_trx_commit")) != "1":
        problems.append(f"innodb_flush_log_at_trx_commit is {flush}: a crash loses the last second; set it to 1")
    if server.get("innodb_flush_method") == "nosync":
        problems.append("innodb_flush_method is nosync: a loss of power damages the database; choose another")
    if server.get("log_bin") in ("ON", "1") and server.get("sync_binlog") != "1":
        problems.append(
            f"sync_binlog is {server.get('sync_binlog')}: a loss of power undoes what is not in the binary log; set it to 1"
        )
    if server.get("innodb_doublewrite", "ON") in ("OFF", "0"):
        problems.append(
            "innodb_doublewrite is off: a loss of power may leave half a page; turn it on, unless the disk writes whole pages"
        )
    if server.get("read_only", "OFF") not in ("OFF", "0"):
        problems.append("this server is read-only: connect to the primary")
    details = {"table": f"{names.database}.{names.table}", "bytes": str(int(sizes[0][0]) if sizes else 0)}
    details |= {name: server[name] for name in ("max_allowed_packet", "sync_binlog") if name in server}
    return Health(product(server), server.get("version", "unknown"), int(clock), tuple(problems), details)


def _text(said: object) -> str:
    return said.decode() if isinstance(said, bytes) else str(said)
