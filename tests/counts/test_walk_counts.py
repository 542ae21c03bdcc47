"""How many functions of ours a call enters on its way: the numbers may only fall."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from limpet_conformance.servers import running

WALKS = Path(__file__).with_name("walks.py")

MOST = {
    "add_message": 49,
    "get_item": 33,
    "encrypted_set_item": 59,
    "publish": 145,
}
"""On SQLite, from the store to the file; `publish` on Redis, to a subscriber on a driver of its own."""


@pytest.mark.parametrize("walk", MOST)
async def test_a_walk_enters_no_more_functions_than_it_did(walk: str, tmp_path: Path) -> None:
    url = running("redis").url if walk == "publish" else f"sqlite:///{(tmp_path / 'walk.db').as_posix()}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(WALKS), walk, url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    printed, listed = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, listed.decode()
    count = int(printed)
    print(f"{walk}: {count} functions")
    assert count <= MOST[walk], f"{walk} enters {count} functions, {MOST[walk]} at most until now:\n{listed.decode()}"
    assert count > 20, "a count of next to nothing is no count"
