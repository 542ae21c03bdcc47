"""The process of `processes.Worker`: open a driver, report it, wait for a signal, do one job."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from json import loads
from operator import attrgetter
from typing import Any

from . import jobs

__all__ = ["main"]


async def _main(spec: dict[str, Any]) -> None:
    module, _, name = spec["factory"].partition(":")
    driver = attrgetter(name)(import_module(module))(spec["url"])
    job = getattr(jobs, spec["job"])
    if spec["job"] == jobs.forget.__name__:
        await jobs.forget(driver)
        return
    async with driver:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await job(driver, **spec["arguments"])


def main() -> None:
    """Read the job from the first line of the input."""
    asyncio.run(_main(loads(sys.stdin.readline())))


if __name__ == "__main__":
    main()
