"""A fork while a place is open, on every driver: whatever the child does, and whatever the parent, nothing is lost and nobody waits."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from limpet import create_persistence
from limpet.driver import Item, key, name, text
from limpet_conformance.servers import running

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")

FORKER = Path(__file__).parent / "forker.py"


@pytest.mark.parametrize("parent", ["goes on", "closes", "dies"])
@pytest.mark.parametrize("loop", ["same", "new", "inside"])
def test_a_fork_loses_nothing_and_nobody_waits(url: str, loop: str, parent: str) -> None:
    if parent == "goes on" and "mongodb" in url and (origin := running("mongodb").origin).startswith("stand-in"):
        pytest.skip(f"{origin}: its transactions, two at once, are one")
    ran = subprocess.run(
        [sys.executable, str(FORKER), url, loop, parent], capture_output=True, text=True, timeout=120, check=False
    )
    said: list[dict[str, Any]] = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [(each["who"], each["wrong"]) for each in said if "wrong" in each] == [], ran.stderr
    ended = {each["who"] for each in said if "ended" in each}
    assert ended == {"uses", "closes", "leaves", "opens"} | ({"parent"} if parent == "goes on" else set()), ran.stderr
    if url.endswith("memory://"):
        return
    acknowledged = [(seq, content) for each in said for seq, content in each.get("acknowledged", ())]
    assert acknowledged
    stored, items = asyncio.run(_found(url, [content for _, content in acknowledged]))
    assert {seq: stored.get(seq) for seq, _ in acknowledged} == dict(acknowledged)
    assert None not in items


async def _found(url: str, contents: list[str]) -> tuple[dict[int | None, object], list[Item | None]]:
    async with create_persistence(url) as persistence:
        stored = {
            message.seq: getattr(message, "content", None) for message in await persistence.sessions.get_messages("s")
        }
        return stored, await persistence.driver.get([key(name("forks"), text(content)) for content in contents])
