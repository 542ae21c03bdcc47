"""Which servers there are: their images, their programs, and how one tells that they answer."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ._docker import Image
from ._server import Program

__all__ = ["KINDS", "Kind"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of server."""

    image: Image
    program: Callable[[], Program | None]
    """Start it from a program of this machine; `None` where there is none."""


def _postgresql() -> Program | None:
    postgres = _installed("postgres", "/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin")
    if postgres is None:
        return None
    beside = Path(postgres).resolve().parent
    if not (beside / "initdb").exists():  # a link in another folder
        found = _installed("initdb", "/usr/lib/postgresql/*/bin")
        if found is None:
            return None
        beside = Path(found).parent
    settings = "listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=300", "jit=on"
    return Program(
        "postgresql://postgres@127.0.0.1:{port}/postgres",
        str(beside / "postgres"),
        lambda data, port: [
            str(beside / "postgres"), "-D", str(data / "db"), "-p", str(port),
            *(part for setting in settings for part in ("-c", setting)),
        ],
        prepare=lambda data: [
            [str(beside / "initdb"), "-D", str(data / "db"), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"]
        ],
        answers=lambda port: _succeeds(str(beside / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)),
        user="postgres",
    )  # fmt: skip


def _redis() -> Program | None:
    server = _installed("redis-server") or _installed("valkey-server")
    cli = _installed("redis-cli") or _installed("valkey-cli")
    if server is None or cli is None:
        return None
    return Program(
        "redis://127.0.0.1:{port}/0",
        server,
        lambda data, port: [
            server, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(data), *_REDIS_SETTINGS
        ],
        answers=lambda port: _says("PONG", cli, "-p", str(port), "ping"),
    )  # fmt: skip


_REDIS_SETTINGS = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")

KINDS: Mapping[str, Kind] = {
    "redis": Kind(
        image=Image(
            names=("redis:8", "redis:7", "valkey/valkey:8"),
            port=6379,
            url="redis://{host}:{port}/0",
            ready=("redis-cli", "ping"),
            command="redis-server --appendonly yes --appendfsync always --save ''",
        ),
        program=_redis,
    ),
    "postgresql": Kind(
        image=Image(
            names=("postgres:18", "postgres:16"),
            port=5432,
            url="postgresql://postgres:holdfast@{host}:{port}/postgres",
            # It starts twice: first to prepare its data, on no address, then for good.
            ready=("pg_isready", "-q", "-h", "127.0.0.1"),
            env={"POSTGRES_PASSWORD": "holdfast"},
            command="postgres -c max_connections=300",
        ),
        program=_postgresql,
    ),
}


def _installed(program: str, *folders: str) -> str | None:
    """Where a program is: on the path, or in one of these folders, the newest first."""
    for pattern in folders:
        for folder in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True):
            if (folder / program).exists():
                return str(folder / program)
    return shutil.which(program)


def _says(word: str, *command: str) -> bool:
    return word in subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
