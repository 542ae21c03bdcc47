"""MongoDB from the programs on this machine, as a replica set of one node or standalone; or a stand-in."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

from ._programs import installed
from ._server import Program

__all__ = ["STAND_IN", "mongodb", "mongodb_standalone"]

STAND_IN = "nx-27017"
"""A program that speaks MongoDB's protocol, for machines without MongoDB."""


def mongodb() -> Program | None:
    """A replica set of one node: batches are transactions, and changes can be watched."""
    if (mongod := installed("mongod")) is None:
        # It says that it is standalone, but supports transactions.
        return _stand_in("mongodb://127.0.0.1:{port}/test?transactions=true")
    return _program(mongod, "--replSet", "rs0", query="?directConnection=true")


def mongodb_standalone() -> Program | None:
    """A standalone server: batches of one item are atomic."""
    if (mongod := installed("mongod")) is None:
        return _stand_in("mongodb://127.0.0.1:{port}/test")
    return _program(mongod)


def _program(mongod: str, *replicated: str, query: str = "") -> Program:
    return Program(
        "mongodb://127.0.0.1:{port}/test" + query,
        mongod,
        lambda data, port: [
            mongod, "--dbpath", str(data), "--port", str(port), "--bind_ip", "127.0.0.1", "--unixSocketPrefix", str(data),
            "--wiredTigerCacheSizeGB", "0.25", "--quiet", *replicated,
        ],
        answers=lambda port: _takes_writes(port, initiate=bool(replicated)),
    )  # fmt: skip


def _stand_in(url: str) -> Program | None:
    try:
        released = version(STAND_IN)
    except PackageNotFoundError:
        return None
    program = Program(
        url,
        STAND_IN,
        lambda data, port: [
            sys.executable, "-m", "nx_27017.nx_27017", "--data-dir", str(data), "--host", "127.0.0.1", "--port", str(port),
            "--log-file", str(data / "log"), "--pid-file", str(data / "pid"),
        ],
        answers=lambda port: _takes_writes(port, initiate=False),
    )  # fmt: skip
    program.origin = f"stand-in {STAND_IN} {released}, not MongoDB"
    return program


def _takes_writes(port: int, *, initiate: bool) -> bool:
    """Return whether it is a primary. If it is not in its replica set yet, initiate that."""
    from pymongo import MongoClient, errors

    with MongoClient[dict[str, object]](
        f"mongodb://127.0.0.1:{port}/?directConnection=true", serverSelectionTimeoutMS=500, timeoutMS=3000
    ) as client:
        try:
            hello = client.admin.command("hello")
            if initiate and "setName" not in hello:
                members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
                client.admin.command({"replSetInitiate": {"_id": "rs0", "members": members}})
            return bool(hello["isWritablePrimary"])
        except errors.PyMongoError:
            return False
