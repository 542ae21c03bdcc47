"""What is stored, for who looks with mongosh or Compass; and that many may make it at once."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from limpet import CorruptDataError, create_storage
from limpet.driver import Put, Range
from limpet_conformance.servers import running
from limpet_drivers.mongodb import MongodbDriver
from limpet_drivers.mongodb._layout import misfit, removes_expired
from limpet_drivers.mongodb._options import Options
from pymongo import AsyncMongoClient


def a_collection(kind: str) -> str:
    at = running(kind).url
    return f"{at}{'&' if '?' in at else '?'}collection=s{uuid4().hex}"


@pytest.fixture
def url() -> str:
    return a_collection("mongodb")


@pytest.fixture
async def items(url: str) -> AsyncIterator[Any]:
    """The collection, as somebody else's client sees it."""
    options = Options.from_url(url)
    async with AsyncMongoClient[dict[str, Any]](options.url, tz_aware=True) as client:
        yield client[options.database_name][options.collection]


async def test_documents_are_for_people_too(url: str, items: Any) -> None:
    async with create_storage(url) as storage:
        await storage.set_item("users:ada", {"plan": "pro"}, ttl=3600)
        await storage.set_item_raw("raw", b"\xff\x00")
    documents = {document["_id"]: document async for document in items.find({})}
    ada = next(document for key, document in documents.items() if key.endswith("@ada"))
    assert json.loads(ada["value"]) == {"plan": "pro"}
    assert set(ada) == {"_id", "value", "etag", "updatedAt", "expiresAt"}
    assert abs(ada["updatedAt"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert timedelta(minutes=59) < ada["expiresAt"] - ada["updatedAt"] <= timedelta(hours=1, seconds=1)
    raw = next(document for key, document in documents.items() if key.endswith("@raw"))
    assert isinstance(raw["value"], bytes)
    assert "expiresAt" not in raw


async def test_the_server_removes_what_has_expired(url: str, items: Any) -> None:
    async with MongodbDriver.from_url(url) as driver:
        indexes = (await items.index_information()).values()
        (index,) = [index for index in indexes if removes_expired(index)]
        assert index["expireAfterSeconds"] == 0
        await driver.apply([Put("kv!@a", "x", ttl_ms=20), Put("kv!@b", "x")])
        await asyncio.sleep(0.05)
        assert await driver.purge() <= 1
        assert [document["_id"] async for document in items.find({})] == ["kv!@b"]


async def test_ten_processes_may_start_at_once() -> None:
    url = a_collection("mongodb-standalone")
    script = (
        "import asyncio, sys\n"
        "from limpet import create_storage\n"
        "async def main():\n"
        "    async with create_storage(sys.argv[1]) as storage:\n"
        "        await storage.set_item(sys.argv[2], 1)\n"
        "asyncio.run(main())\n"
    )
    pipe = asyncio.subprocess.PIPE
    started = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", script, url, f"p{n}", stderr=pipe) for n in range(10)
    ]
    for process in started:
        _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
    async with create_storage(url) as storage:
        assert {key async for key in storage.get_keys()} == {f"p{n}" for n in range(10)}


async def test_documents_of_another_program_are_named_and_left(url: str, items: Any) -> None:
    async with MongodbDriver.from_url(url) as driver:
        await items.insert_one({"_id": "kv!@theirs", "name": "Ada"})
        with pytest.raises(CorruptDataError, match="another collection"):
            await driver.get(["kv!@theirs"])
        with pytest.raises(CorruptDataError, match="another collection"):
            await driver.scan(Range("kv"))
        assert await items.find_one({"_id": "kv!@theirs"}) == {"_id": "kv!@theirs", "name": "Ada"}


async def test_two_collections_share_nothing(url: str) -> None:
    async with create_storage(url) as one, create_storage(f"{url}_other") as other:
        await one.set_item("a", 1)
        assert await other.get_item("a") is None
        await other.clear()
        assert await one.get_item("a") == 1


@pytest.mark.parametrize(
    ("known", "wrong"),
    [
        ({"type": "collection", "options": {}}, None),
        ({"options": {"collation": {"locale": "simple"}}}, None),
        ({"type": "view", "options": {"viewOn": "x"}}, "view"),
        ({"type": "timeseries", "options": {}}, "timeseries"),
        ({"type": "collection", "options": {"collation": {"locale": "de", "strength": 1}}}, "collation 'de'"),
        ({"type": "collection", "options": {"capped": True, "size": 1}}, "capped"),
    ],
    ids=["usual", "simple", "view", "timeseries", "german", "capped"],
)
def test_collections_that_cannot_hold_items(known: dict[str, Any], wrong: str | None) -> None:
    said = misfit(known)
    assert said is None if wrong is None else said is not None and wrong in said


async def test_a_long_page_is_cut_by_its_size(url: str) -> None:
    async with MongodbDriver.from_url(url) as driver:
        for n in range(6):
            await driver.apply([Put(f"kv!@{n}", "x" * 400_000)])
        page = await driver.scan(Range("kv"))
        assert len(page.items) == 3
        assert page.next == "kv!@2"
