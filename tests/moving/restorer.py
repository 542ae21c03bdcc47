"""`restorer.py BACKUP TARGET`: restores, and says how many pages were stored."""

from __future__ import annotations

import asyncio
import sys

from limpet.moving import Progress, restore

pages = 0


def show(step: Progress) -> None:
    global pages
    if step.phase == "restoring":
        print(f"restoring {pages}", flush=True)
        pages += 1


asyncio.run(restore(sys.argv[1], sys.argv[2], progress=show))
