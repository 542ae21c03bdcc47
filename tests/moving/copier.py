"""`copier.py SOURCE TARGET`: copies, and says each page that was stored."""

from __future__ import annotations

import asyncio
import sys

from limpet import create_persistence
from limpet.moving import copy


async def main(source: str, target: str) -> None:
    async with create_persistence(source) as here, create_persistence(target) as there:
        report = await copy(here, there, progress=lambda step: print(step.items, flush=True))
        assert report.exact


asyncio.run(main(*sys.argv[1:]))
