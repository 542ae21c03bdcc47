"""Rates in turns, so that a machine whose speed drifts drifts for everybody; ratios of medians, held against a bar."""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["SERVERS_SEEN", "Comparison", "Contender", "compare", "environment", "fsync_ms"]

SERVERS_SEEN: dict[str, str] = {}
"""The servers of this run, by name, and their versions."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody who does the work: `run(n)` does it n times."""

    name: str
    run: Callable[[int], Awaitable[None]]


@dataclass(slots=True)
class Comparison:
    """What came out, each rate in operations a second, the median of the rounds."""

    title: str
    unit: str
    rates: dict[str, float]
    ratios: dict[str, float]
    """The first contender's rate over each other's, the median over the rounds."""
    bars: dict[str, float] = field(default_factory=dict)
    """The ratio that was aimed at."""

    def missed(self) -> list[str]:
        """The bars that were missed, in words."""
        return [
            f"{self.title}: {self.ratios[name]:.2f} of {name}, aimed at {bar}"
            for name, bar in self.bars.items()
            if self.ratios[name] < bar
        ]


async def compare(
    title: str,
    contenders: list[Contender],
    *,
    times: int,
    rounds: int = 7,
    bars: Mapping[str, float] | None = None,
    unit: str = "calls/s",
) -> Comparison:
    """Let each contender do the work `times` times a round, in turns, after one round that does not count."""
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders if number % 2 else reversed(contenders):
            gc.collect()
            started = time.perf_counter()
            await contender.run(times)
            rate = times / (time.perf_counter() - started)
            if number:
                rates[contender.name].append(rate)
    ours = rates[contenders[0].name]
    ratios = {
        name: statistics.median(mine / theirs for mine, theirs in zip(ours, others, strict=True))
        for name, others in rates.items()
        if name != contenders[0].name
    }
    medians = {name: statistics.median(found) for name, found in rates.items()}
    return Comparison(title, unit, medians, ratios, dict(bars or {}))


def fsync_ms(folder: Path) -> float:
    """How long this disk takes to make one page safe, in milliseconds: the median of 200."""
    found = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            started = time.perf_counter()
            os.fsync(file.fileno())
            found.append(time.perf_counter() - started)
    return round(statistics.median(found) * 1000, 4)


def environment(folder: Path) -> dict[str, object]:
    """What the figures depend on."""
    import sqlite3

    packages = {}
    for name in (
        "limpet",
        "limpet-sqlite",
        "aiosqlite",
        "py-key-value-aio",
        "openai-agents",
        "agentomatic",
        "langgraph-checkpoint-sqlite",
        "langgraph-checkpoint-postgres",
        "naylence-runtime",
        "naylence-agent-sdk",
        "asyncpg",
        "redis",
        "hiredis",
        "aiomysql",
        "pymongo",
        "cryptography",
        "sqlalchemy",
        "pydantic",
    ):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "sqlite": sqlite3.sqlite_version,
        "fsync_ms": fsync_ms(folder),
        "packages": packages,
    }
