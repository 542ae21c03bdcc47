"""Other processes on the same database: they open a driver by its URL, as applications do, and do one job.

    async with working(self, url, Job("increment", key=..., times=50), Job("increment", key=..., times=50)) as workers:
        for worker in workers:
            worker.go()                     # they begin together, each with its driver open
        results = [await worker.result() for worker in workers]

The jobs are the functions of `limpet_conformance.machinery.jobs`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from json import dumps, loads
from tempfile import TemporaryFile
from typing import IO, Any

from .._suite import Section

__all__ = ["Job", "Worker", "working"]

READY = "ready"


class Job:
    """A function of `jobs`, by name, and its arguments, which must be JSON."""

    def __init__(self, name: str, **arguments: Any) -> None:
        self.name = name
        self.arguments = arguments


class Worker:
    """One process with one job."""

    def __init__(self, factory: str, url: str, job: Job) -> None:
        self.job = job
        self._first = b""
        self._errors: IO[bytes] = TemporaryFile()  # noqa: SIM115 - closed in `end`
        said = dumps({"factory": factory, "url": url, "job": job.name, "arguments": job.arguments})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "limpet_conformance.machinery.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        self._say(said)  # not an argument, because other users of the machine can see those

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    async def ready(self) -> None:
        """Wait until the worker's driver is open."""
        assert self._process.stdout is not None
        line = await asyncio.to_thread(self._process.stdout.readline)
        assert line.decode().strip() == READY, f"a worker could not begin:\n{self._complaint()}"

    def go(self) -> None:
        """Start the job."""
        self._say("go")

    async def begun(self) -> None:
        """Wait until the job has printed something."""
        assert self._process.stdout is not None
        self._first = await asyncio.to_thread(self._process.stdout.readline)
        assert self._first, f"the job {self.job.name} ended at once:\n{self._complaint()}"

    def kill(self) -> None:
        """Kill it, as `kill -9` does."""
        self._process.kill()

    async def lines(self) -> list[Any]:
        """Return everything that the job printed, once it has ended in any way."""
        assert self._process.stdout is not None
        said = await asyncio.to_thread(self._process.stdout.read)
        await asyncio.to_thread(self._process.wait)
        *whole, _torn = (self._first + said).split(b"\n")  # a killed process may leave half a line
        return [loads(line) for line in whole]

    async def result(self) -> list[Any]:
        """Return everything that the job printed. Fails if it did not end successfully."""
        lines = await self.lines()
        assert self._process.returncode == 0, f"the job {self.job.name} failed in its process:\n{self._complaint()}"
        return lines

    def end(self) -> None:
        """Free the process and its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:  # the process ended without reading everything
                continue

    def _complaint(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-3000:]


@asynccontextmanager
async def working(section: Section, url: str, *jobs: Job) -> AsyncIterator[list[Worker]]:
    """Start a process for each job, and wait until all their drivers are open."""
    workers: list[Worker] = []
    try:
        for job in jobs:
            workers.append(Worker(section.factory, url, job))
        for worker in workers:
            await worker.ready()
        yield workers
    finally:
        for worker in workers:
            worker.end()
