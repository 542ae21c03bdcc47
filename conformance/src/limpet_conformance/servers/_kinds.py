"""The kinds of servers: their images, their programs, and how to tell that they are ready."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ._docker import Image
from ._mongodb import mongodb, mongodb_standalone
from ._postgresql import pgbouncer, postgresql
from ._programs import installed, said
from ._redis import redis, redis_cluster, redis_sentinels
from ._server import Program, Server

__all__ = ["KINDS", "Kind"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of server."""

    image: Image | None = None
    """`None` if it consists of several programs, which are started on this machine."""
    program: Callable[[], Server | None]
    """Start it from the programs on this machine; `None` if there are none."""


def _mysql() -> Program | None:
    mysqld, before = _unpacked_mysql() or ([installed("mysqld", "/usr/sbin") or ""], [])
    if not mysqld[-1] or "MariaDB" in said(*mysqld, "--version"):  # Debian's is a link to MariaDB's
        return None
    common = [*mysqld, "--no-defaults", *before, *_as_root()]
    return Program(
        "mysql://root@127.0.0.1:{port}/test",
        mysqld[-1],
        lambda data, port: [
            *common, *_mysql_settings(data, port), "--mysqlx=OFF", "--secure-file-priv=NULL", "--skip-log-bin"
        ],
        prepare=lambda data: [[*common, "--initialize-insecure", f"--datadir={data / 'db'}"]],
        answers=_greets,
    )  # fmt: skip


def _unpacked_mysql() -> tuple[list[str], list[str]] | None:
    """The one that `.ci/mysql-server` unpacked, run by the loader with its own libraries; and where its files are."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = Path(os.environ.get("LIMPET_MYSQL_ROOT") or cache / "limpet" / "mysql")
    loader = next(root.glob("usr/lib/*/ld-linux*.so.*"), None)
    if loader is None or not (root / "usr/sbin/mysqld").exists():
        return None
    share = root / "usr/share/mysql"
    return (
        [str(loader), "--library-path", str(loader.parent), str(root / "usr/sbin/mysqld")],
        [f"--lc-messages-dir={share}", f"--character-sets-dir={share / 'charsets'}"],
    )


def _mariadb() -> Program | None:
    mariadbd, install = installed("mariadbd", "/usr/sbin"), installed("mariadb-install-db")
    if mariadbd is None or install is None:
        return None
    return Program(
        "mariadb://root@127.0.0.1:{port}/test",
        mariadbd,
        lambda data, port: [mariadbd, "--no-defaults", *_as_root(), *_mysql_settings(data, port)],
        prepare=lambda data: [
            [install, "--no-defaults", "--auth-root-authentication-method=normal", f"--datadir={data / 'db'}", *_as_root()]
        ],
        answers=_greets,
    )  # fmt: skip


def _as_root() -> list[str]:
    """It refuses to run as root, unless told so."""
    return ["--user=root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []


def _mysql_settings(data: Path, port: int) -> list[str]:
    """Small and quick to start; each commit waits for the disk."""
    beginning = data / "init.sql"
    beginning.write_text("CREATE DATABASE IF NOT EXISTS test;\n")
    return [
        f"--datadir={data / 'db'}", f"--port={port}", "--bind-address=127.0.0.1", f"--socket={data / 'sock'}",
        f"--pid-file={data / 'pid'}", f"--init-file={beginning}", "--max-connections=300", "--max-connect-errors=100000000",
        "--performance-schema=OFF", "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=1",
    ]  # fmt: skip


def _greets(port: int) -> bool:
    """Return whether a server with MySQL's protocol sends its version, which it does first."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return connection.recv(5)[4:] == b"\n"
    except OSError:
        return False


_BEGIN_REPLICA_SET = """
if (!db.hello().setName) rs.initiate({_id: "rs0", members: [{_id: 0, host: "127.0.0.1:27017"}]});
quit(db.hello().isWritablePrimary ? 0 : 1)
"""

KINDS: Mapping[str, Kind] = {
    "redis": Kind(
        image=Image(
            names=("redis:8", "redis:7", "valkey/valkey:8"),
            port=6379,
            url="redis://{host}:{port}/0",
            ready=("redis-cli", "ping"),
            command="redis-server --appendonly yes --appendfsync always --save ''",
        ),
        program=redis,
    ),
    "postgresql": Kind(
        image=Image(
            names=("postgres:18", "postgres:16"),
            port=5432,
            url="postgresql://postgres:limpet@{host}:{port}/postgres",
            # It starts twice: first to prepare its data, on no address, then for good.
            ready=("pg_isready", "-q", "-h", "127.0.0.1"),
            env={"POSTGRES_PASSWORD": "limpet"},
            command="postgres -c max_connections=300",
        ),
        program=postgresql,
    ),
    "redis-cluster": Kind(program=redis_cluster),
    "redis-sentinel": Kind(program=redis_sentinels),
    "pgbouncer": Kind(program=pgbouncer),
    "mongodb": Kind(
        image=Image(
            names=("mongo:8",),
            port=27017,
            # The member of the replica set knows itself by a name that is only valid in the container.
            url="mongodb://{host}:{port}/test?directConnection=true",
            ready=("mongosh", "--quiet", "--eval", _BEGIN_REPLICA_SET),
            command="mongod --replSet rs0 --bind_ip_all",
        ),
        program=mongodb,
    ),
    "mongodb-standalone": Kind(
        image=Image(
            names=("mongo:8",),
            port=27017,
            url="mongodb://{host}:{port}/test",
            ready=("mongosh", "--quiet", "--eval", "quit(db.hello().isWritablePrimary ? 0 : 1)"),
        ),
        program=mongodb_standalone,
    ),
    "mysql": Kind(
        image=Image(
            names=("mysql:8.4", "mysql:9"),
            port=3306,
            url="mysql://root:limpet@{host}:{port}/test",
            # It starts twice: first to prepare its data, on no address, then for good.
            ready=("mysqladmin", "ping", "--silent", "--host=127.0.0.1"),
            env={"MYSQL_ROOT_PASSWORD": "limpet", "MYSQL_DATABASE": "test"},
            command="mysqld --max-connections=300",
        ),
        program=_mysql,
    ),
    "mariadb": Kind(
        image=Image(
            names=("mariadb:11",),
            port=3306,
            url="mariadb://root:limpet@{host}:{port}/test",
            ready=("mariadb-admin", "ping", "--silent", "--host=127.0.0.1"),
            env={"MARIADB_ROOT_PASSWORD": "limpet", "MARIADB_DATABASE": "test"},
            command="mariadbd --max-connections=300",
        ),
        program=_mariadb,
    ),
}
