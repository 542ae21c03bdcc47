"""A conversation of 200 turns, each with a checkpoint, beside LangGraph's savers: how fast, and what is stored of it."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
from limpet import create_persistence
from limpet_conformance.servers import find

from .._measure import SERVERS_SEEN, Comparison, Contender, compare
from ..peers.langgraph import LangGraph

__all__ = ["run"]

TURNS = 200
TURN = [{"role": role, "content": os.urandom(300).hex()} for _ in range(TURNS) for role in ("user", "assistant")]
PLAN = "p" * 2000
TEXT_KB = len(json.dumps(TURN)) / 1000

Step: TypeAlias = Callable[[str, int, dict[str, Any]], Awaitable[object]]
Latest: TypeAlias = Callable[[str], Awaitable[Any]]


async def run(folder: Path) -> list[Comparison]:
    peer = LangGraph.on_sqlite(folder / "langgraph.db")
    places = folder / "ours.db"
    found = await _beside(
        f"sqlite:///{places.as_posix()}",
        "sqlite",
        peer,
        "LangGraph's SQLite saver",
        lambda ours: _sqlite_kb(places if ours else folder / "langgraph.db"),
    )
    server = find("postgresql")
    try:
        schema = f"{server.url}{'&' if '?' in server.url else '?'}schema=limpet_checkpoints"
        peer = LangGraph.on_postgresql(server.url)
        found += await _beside(
            schema,
            "postgresql",
            peer,
            "LangGraph's PostgreSQL saver",
            lambda ours: _postgresql_kb(server.url, "limpet_checkpoints" if ours else "public"),
        )
    finally:
        server.end()
    return found


async def _beside(url: str, kind: str, peer: LangGraph, name: str, kb: Callable[[bool], float]) -> list[Comparison]:
    await peer.open()
    try:
        async with create_persistence(url) as persistence:
            health = await persistence.driver.health()
            SERVERS_SEEN[health.server] = health.version

            async def ours(thread: str, step: int, channels: dict[str, Any]) -> None:
                metadata = {"source": "loop", "step": step}
                await persistence.checkpoints.put(thread, {"channel_values": channels}, metadata=metadata)

            async def our_latest(thread: str) -> Any:
                latest = await persistence.checkpoints.get(thread)
                assert latest is not None
                return latest.checkpoint["channel_values"]

            for step, latest in ((ours, our_latest), (peer.put, peer.latest)):
                await _converse(step, "first", TURNS)
                assert (await latest("first"))["messages"] == TURN
            stored = {"limpet": kb(True), name: kb(False), "its text": TEXT_KB}
            ratios = {who: size / stored["limpet"] for who, size in stored.items() if who != "limpet"}
            return [
                Comparison(f"{kind}: {TURNS} turns, KB stored", "KB", stored, ratios, {name: 5.0, "its text": 0.2}),
                await compare(
                    f"{kind}: a turn with its checkpoint, of {TURNS}",
                    [Contender("limpet", _turns(ours)), Contender(name, _turns(peer.put))],
                    times=TURNS,
                    rounds=3,
                    bars={name: 1.0},
                ),
                await compare(
                    f"{kind}: the latest of {TURNS}",
                    [Contender("limpet", _gets(our_latest)), Contender(name, _gets(peer.latest))],
                    times=50,
                    rounds=3,
                ),
            ]
    finally:
        await peer.close()


async def _converse(step: Step, thread: str, turns: int) -> None:
    for turn in range(turns):
        await step(thread, turn, {"messages": TURN[: 2 * turn + 2], "plan": PLAN})


def _turns(step: Step) -> Callable[[int], Awaitable[None]]:
    threads = itertools.count()

    async def act(times: int) -> None:
        await _converse(step, f"t{next(threads)}", times)

    return act


def _gets(latest: Latest) -> Callable[[int], Awaitable[None]]:
    async def act(times: int) -> None:
        for _ in range(times):
            await latest("first")

    return act


def _sqlite_kb(path: Path) -> float:
    with sqlite3.connect(path) as connection:
        (pages,), (size,) = (connection.execute(f"PRAGMA {of}").fetchone() for of in ("page_count", "page_size"))
    return float(pages * size / 1000)


def _postgresql_kb(url: str, schema: str) -> float:
    every = "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    with psycopg.connect(url) as connection:
        row = connection.execute(f"{every} WHERE c.relkind = 'r' AND n.nspname = %s", [schema]).fetchone()
    assert row is not None
    return float(row[0]) / 1000
