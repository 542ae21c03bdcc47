"""The flaws of AgentX's persistence that somebody reproduced, numbered as in the list of them in `docs/design.md`."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from limpet import FormatError


def image(id: str, name: str = "x", container: str = "c") -> dict[str, Any]:
    return {"imageId": id, "containerId": container, "sessionId": f"s-{id}", "name": name, "createdAt": 1}


def message(n: int) -> dict[str, Any]:
    return {"id": f"m{n:04}", "subtype": "user", "content": "x" * 100, "timestamp": n}


async def test_1_an_append_writes_the_message_and_not_the_history(design: Any) -> None:
    await design.save_session("s")
    sizes = []
    for n in range(200):
        before = design.written
        await design.add_message("s", message(n))
        sizes.append(design.written - before)
    assert sizes[199] <= sizes[0] + 8


async def test_2_concurrent_messages_are_all_kept(design: Any) -> None:
    await design.save_session("s")
    await asyncio.gather(*(design.add_message("s", message(n)) for n in range(20)))
    assert sorted(await design.message_ids("s")) == [f"m{n:04}" for n in range(20)]


@pytest.mark.parametrize("clients", [0, 3])
async def test_3_a_message_is_stored_once_whoever_listens(design: Any, clients: int) -> None:
    await design.save_session("s")
    await design.delivered("s", message(1), clients)
    assert await design.message_ids("s") == ["m0001"]


async def test_4_a_save_is_whole_or_not_at_all(design: Any) -> None:
    for writes in range(3):
        design.dies_after(writes)
        with contextlib.suppress(ConnectionError):
            await design.save_image(image(f"i{writes}"))
        design.lives_again()
    whole = set(await design.image_ids())
    assert set(await design.image_ids_by_name("x")) == set(await design.image_ids_by_container("c")) == whole


async def test_4_a_rewind_that_dies_loses_nothing(design: Any) -> None:
    await design.save_session("s")
    for n in range(5):
        await design.add_message("s", message(n))
    design.dies_after(1 if type(design).__name__ == "OldDesign" else 0)
    with pytest.raises(ConnectionError):
        await design.rewind("s", 3)
    design.lives_again()
    assert len(await design.message_ids("s")) in (3, 5)


async def test_5_a_renamed_image_is_found_by_its_new_name_only(design: Any) -> None:
    await design.save_image(image("i", "My Assistant"))
    await design.save_image(image("i", "Renamed"))
    assert await design.image_ids_by_name("My Assistant") == []
    assert await design.image_ids_by_name("Renamed") == ["i"]


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("What is this?", ["What is this"]),
        ("foo", ["foo/bar", "foo:bar", "foo\\bar"]),
        ("", ["a", "b"]),
        ("a::b", ["a:b"]),
    ],
)
async def test_6_any_text_is_a_name_and_finds_itself_only(design: Any, name: str, others: list[str]) -> None:
    for n, each in enumerate([name, *others]):
        await design.save_image(image(f"i{n}", each))
    assert await design.image_ids_by_name(name) == ["i0"]


@pytest.mark.parametrize("id", ["1e5", "1.0", "null", "NaN", '{"a":1}'])
async def test_7_an_id_that_looks_like_a_number_stays_text(design: Any, id: str) -> None:
    await design.save_image(image(id))
    assert await design.image_ids_by_container("c") == [id]


async def test_8_a_list_is_no_call_for_each_record(design: Any) -> None:
    for n in range(50):
        await design.save_image(image(f"i{n}"))
    before = design.calls
    assert len(await design.image_ids_by_container("c")) == 50
    assert design.calls - before <= 4


async def test_9_a_lookup_examines_what_it_finds_and_not_everything(design: Any) -> None:
    for n in range(100):
        await design.save_image(image(f"i{n}", container=f"c{n}"))
    before = design.examined
    assert await design.image_ids_by_container("c7") == ["i7"]
    assert design.examined - before <= 3


async def test_11_a_place_of_a_newer_format_is_refused_and_not_taken_for_empty(design: Any) -> None:
    await design.save_image(image("i"))
    refused = False
    try:
        await design.read_as_newer_format()
    except FormatError:
        refused = True
    assert refused
    assert await design.image_ids() == ["i"]


LIMPET_WRITER = """
import asyncio, sys
from limpet import create_storage
async def main():
    async with create_storage("sqlite:///" + sys.argv[1]) as storage:
        for n in range(100):
            await storage.set_item(f"{sys.argv[2]}:{n}", n)
asyncio.run(main())
"""
OLD_WRITER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
db.execute("CREATE TABLE IF NOT EXISTS kv_storage (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
for n in range(100):
    key = f"{sys.argv[2]}:{n}"
    if db.execute("SELECT 1 FROM kv_storage WHERE key = ?", (key,)).fetchone() is None:
        db.execute("INSERT INTO kv_storage VALUES (?, ?)", (key, str(n)))
"""


@pytest.mark.parametrize(
    ("writer", "table"),
    [
        pytest.param(LIMPET_WRITER, "new", id="new"),
        pytest.param(OLD_WRITER, "old", id="old", marks=pytest.mark.xfail(strict=True, reason="database is locked")),
    ],
)
def test_10_several_processes_write_one_file_without_an_error(writer: str, table: str, tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    if table == "old":
        sqlite3.connect(path).close()
    command = [sys.executable, "-c", writer, str(path)]
    workers = [subprocess.Popen([*command, str(n)], stderr=subprocess.PIPE, text=True) for n in range(4)]
    errors = [worker.communicate(timeout=60)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, errors
