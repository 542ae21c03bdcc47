"""What is sent and how often, what a server that stands alone says, and what becomes of transactions that go wrong."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import uuid4

import pytest
from limpet import (
    ConflictError,
    OutcomeUnknownError,
    TooLargeError,
    UnsupportedError,
    create_persistence,
    create_storage,
)
from limpet.driver import Append, Check, Delete, If, Put, Range, Write
from limpet_conformance.servers import running
from limpet_drivers.mongodb import MongodbDriver
from limpet_drivers.mongodb._options import Options
from pymongo import AsyncMongoClient, errors
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.monitoring import CommandListener


class Counted(CommandListener):
    """How often each command was sent."""

    def __init__(self) -> None:
        self.commands: Counter[str] = Counter()

    def started(self, event: Any) -> None:
        self.commands[event.command_name] += 1

    def succeeded(self, event: Any) -> None: ...

    failed = succeeded

    @contextmanager
    def during(self) -> Iterator[Counter[str]]:
        self.commands.clear()
        yield self.commands


def url_of(kind: str, **options: object) -> str:
    url = running(kind).url
    options = {"collection": f"s{uuid4().hex}", **options}
    return f"{url}{'&' if '?' in url else '?'}" + "&".join(f"{name}={value}" for name, value in options.items())


@asynccontextmanager
async def counting(kind: str = "mongodb") -> AsyncIterator[tuple[MongodbDriver, Counted]]:
    """A driver, not open yet, on a client whose commands are counted."""
    options = Options.from_url(url_of(kind))
    counted = Counted()
    async with AsyncMongoClient[dict[str, Any]](options.url, event_listeners=[counted]) as client:
        yield MongodbDriver(client=client, collection=options.collection, transactions=options.transactions), counted


@pytest.fixture
async def driver() -> AsyncIterator[MongodbDriver]:
    async with MongodbDriver.from_url(url_of("mongodb")) as driver:
        yield driver


@pytest.mark.parametrize("kind", ["mongodb", "mongodb-standalone"])
async def test_a_thousand_tasks_at_once_are_a_few_commands(kind: str) -> None:
    async with counting(kind) as (driver, counted), create_storage(driver) as storage:
        await storage.set_item("first", 0)
        with counted.during() as sent:
            await asyncio.gather(*(storage.set_item(f"k{n}", n) for n in range(1000)))
        assert sent.total() <= 10, sent
        with counted.during() as sent:
            assert await asyncio.gather(*(storage.get_item(f"k{n}") for n in range(1000))) == list(range(1000))
        assert sent.total() <= 10, sent
        await storage.aclose()


async def test_how_many_commands_each_call_is() -> None:
    async with counting() as (driver, counted), driver:
        put, other = Put("kv!@a", "1"), Put("kv!@b", "1")
        calls: list[tuple[Callable[[], Awaitable[object]], dict[str, int]]] = [
            (lambda: driver.apply([put]), {"update": 1}),
            (lambda: driver.get(["kv!@a", "kv!@none"]), {"find": 1}),
            (lambda: driver.scan(Range("kv")), {"find": 1}),
            (lambda: driver.apply([Put("kv!@a", "2", put.etag, etag=other.etag)]), {"update": 1}),
            (lambda: driver.apply([Put("kv!@c", "2", If.ABSENT)]), {"update": 1}),
            (lambda: driver.apply([Delete("kv!@c", If.PRESENT)]), {"delete": 1}),
            (lambda: driver.commit([[Put(f"kv!@{n}", "x")] for n in range(1000)]), {"update": 1}),
        ]
        for call, wanted in calls:
            with counted.during() as sent:
                await call()
            sent.pop("ping", None)  # after half a second without a call
            assert sent == wanted
        with counted.during() as sent:
            await driver.apply([Put("kv!@a", "3", other.etag), Delete("kv!@b"), Check("kv!@1")])
        sent.pop("ping", None)
        clocks = sent.pop("hello", 0)
        assert clocks <= 1, "only a server that does not know $$NOW is asked for its clock"
        assert sent == {"find": 1, "update": 1, "commitTransaction": 1}
        with counted.during() as sent, pytest.raises(ConflictError):
            await driver.apply([Put("kv!@a", "4", If.ABSENT)])
        assert (sent["update"], sent["find"]) == (1, 1)


async def test_a_batch_beyond_the_size_of_a_command_is_one_all_the_same() -> None:
    async with counting() as (driver, counted), driver:
        with counted.during() as sent:
            await driver.apply([Put(f"kv!@{n}", "x" * 10_000_000) for n in range(3)])
        assert sent["update"] == 3
        assert sent["commitTransaction"] == 1
        assert all(await driver.get([f"kv!@{n}" for n in range(3)], values=False))


async def test_a_server_that_stands_alone_says_what_it_lacks() -> None:
    async with MongodbDriver.from_url(url_of("mongodb-standalone")) as driver:
        assert driver.capabilities.atomic == "item"
        with pytest.raises(UnsupportedError, match="single items"):
            await driver.apply([Put("kv!@a", "x"), Put("kv!@b", "x")])
        with pytest.raises(UnsupportedError, match="--replSet"):
            driver.watch("kv")
        assert any("--replSet" in problem for problem in (await driver.health()).problems)
        units: list[list[Write]] = [
            [Put("kv!@a", "x")],
            [Put("kv!@a", "y", If.ABSENT)],
            [Put("kv!@b", "x", If.ABSENT)],
            [Delete("kv!@c")],
        ]
        outcomes = await driver.commit(units)
        assert [type(outcome).__name__ for outcome in outcomes] == ["NoneType", "ConflictError", "NoneType", "NoneType"]


async def test_stores_on_a_server_that_stands_alone() -> None:
    async with create_persistence(url_of("mongodb-standalone")) as persistence:
        kv = persistence.kv(int, "n")
        await kv.set("a", 1)
        assert await kv.update("a", lambda n: n + 1) == 2
        with pytest.raises(UnsupportedError, match="batch"):
            await persistence.sessions.add_message("s", {"subtype": "user", "content": "Hi"}, create=True)


async def test_a_server_that_stands_alone_keeps_values_in_one_piece() -> None:
    async with create_persistence(url_of("mongodb-standalone")) as persistence:
        limit = persistence.driver.capabilities.max_value_bytes
        assert limit < 16 * 1024 * 1024, "chunks need batches"
        kv = persistence.kv(str, "long")
        await kv.set("a", "x" * 8_000_000)
        assert await kv.get("a") == "x" * 8_000_000
        with pytest.raises(TooLargeError, match=str(limit)):
            await kv.set("a", "x" * limit)


async def test_transactions_may_be_done_without() -> None:
    options = Options.from_url(url_of("mongodb"))
    async with MongodbDriver(options.url, collection=options.collection, transactions="false") as driver:
        assert driver.capabilities.atomic == "item"
        assert not driver.capabilities.append


async def test_what_is_waited_for_is_declared() -> None:
    async with MongodbDriver.from_url(url_of("mongodb", durability="process")) as driver:
        assert driver.capabilities.durable == "process"
        assert any("durability" in problem for problem in (await driver.health()).problems)
    async with MongodbDriver.from_url(url_of("mongodb")) as driver:
        assert driver.capabilities.durable == "disk"


Commit = Callable[[AsyncClientSession], Awaitable[None]]


@pytest.fixture
def committing(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[AsyncClientSession, Commit], Awaitable[None]]], None]:
    """Put a function around the next commit of any transaction; the ones after it are as always."""
    commit = AsyncClientSession.commit_transaction

    def around(act: Callable[[AsyncClientSession, Commit], Awaitable[None]]) -> None:
        async def once(session: AsyncClientSession) -> None:
            monkeypatch.setattr(AsyncClientSession, "commit_transaction", commit)
            await act(session, commit)

        monkeypatch.setattr(AsyncClientSession, "commit_transaction", once)

    return around


def lost() -> errors.AutoReconnect:
    return errors.AutoReconnect("connection closed", {"errorLabels": ["UnknownTransactionCommitResult"]})


async def test_a_commit_whose_answer_is_lost_is_read_back(driver: MongodbDriver, committing: Any) -> None:
    async def swallow(session: AsyncClientSession, commit: Commit) -> None:
        await commit(session)
        raise lost()

    committing(swallow)
    await driver.apply([Put("kv!@a", "1"), Put("kv!@b", "1")])
    assert [item and item.value for item in await driver.get(["kv!@a", "kv!@b"])] == ["1", "1"]
    head = Put("log", "")
    await driver.apply([head, Put("log!n", "0")])
    committing(swallow)
    assert await driver.append("log!n", [Put("log!e", "x")], Check("log", head.etag)) == 0
    assert len((await driver.scan(Range("log!e"))).items) == 1, "an append was sent twice"


async def test_a_commit_that_never_arrived_is_sent_again_only_where_it_cannot_happen_twice(
    driver: MongodbDriver, committing: Any
) -> None:
    async def drop(session: AsyncClientSession, commit: Commit) -> None:
        await session.abort_transaction()
        raise lost()

    five = Put("kv!@n", "5")
    await driver.apply([five])
    committing(drop)
    await driver.apply([Put("kv!@n", "6", five.etag), Put("kv!@m", "x")])
    assert [item and item.value for item in await driver.get(["kv!@n", "kv!@m"])] == ["6", "x"]
    committing(drop)
    with pytest.raises(OutcomeUnknownError):
        await driver.apply([Put("kv!@n", "7"), Put("kv!@m", "y")])
    assert [item and item.value for item in await driver.get(["kv!@n", "kv!@m"])] == ["6", "x"]


async def test_a_transaction_that_lost_a_race_is_played_again(driver: MongodbDriver, committing: Any) -> None:
    async def conflict(session: AsyncClientSession, commit: Commit) -> None:
        await session.abort_transaction()
        await driver.apply([Put("kv!@other", "meanwhile")])
        raise errors.OperationFailure("WriteConflict", 112, {"errorLabels": ["TransientTransactionError"]})

    committing(conflict)
    await driver.apply([Put("kv!@a", "1", If.ABSENT), Put("kv!@b", "1")])
    committing(conflict)
    with pytest.raises(ConflictError) as caught:
        await driver.apply([Put("kv!@a", "2", If.ABSENT), Put("kv!@other", "mine")])
    assert caught.value.keys == ("kv!@a",)
    committing(conflict)
    outcomes = await driver.commit([[Put("kv!@c", "1"), Delete("kv!@b")], [Put("kv!@a", "x", If.ABSENT)]])
    assert outcomes[0] is None
    assert isinstance(outcomes[1], ConflictError)
    values = {item.key: item.value for item in (await driver.scan(Range("kv"))).items}
    assert values == {"kv!@a": "1", "kv!@c": "1", "kv!@other": "meanwhile"}


async def test_what_a_round_rests_on_is_written_too(driver: MongodbDriver) -> None:
    """A transaction on a snapshot notices who changes what it wrote, and nobody who changes what it only read."""
    head = Put("kv!@head", "x")
    await driver.apply([head, Put("log!n", "0")])
    items = driver._opened.at.items

    async def checks() -> int:
        return int((await items.find_one({"_id": "kv!@head"})).get("checks", 0))

    await driver.apply([Check("kv!@head"), Put("kv!@a", "x"), Delete("kv!@absent")])
    assert await checks() == 1
    guard = await items.find_one({"_id": "kv!@absent"})
    assert guard is None or guard["expiresAt"] == guard["updatedAt"], "what holds the place has expired"
    (absent,) = await driver.get(["kv!@absent"])
    assert absent is None
    assert await driver.commit([Append("log!n", (Put("log!e", "x"),), Check("kv!@head", head.etag))]) == [0]
    assert await checks() == 2
    (item,) = await driver.get(["kv!@head"])
    assert item is not None
    assert item.etag == head.etag, "a check is no change"


@pytest.mark.parametrize("borrowed", [False, True], ids=["own", "borrowed"])
async def test_no_cancellation_is_lost_and_none_leaves_a_transaction(borrowed: bool) -> None:
    options = Options.from_url(url_of("mongodb"))
    async with AsyncMongoClient[dict[str, Any]](options.url) as client:
        driver = MongodbDriver(
            options.url if not borrowed else "mongodb://localhost:27017", client=client if borrowed else None,
            collection=options.collection, transactions=options.transactions,
        )  # fmt: skip
        async with driver:
            for n in range(60):
                writing = asyncio.create_task(driver.apply([Put("kv!@a", str(n)), Put("kv!@b", str(n))]))
                await asyncio.sleep(n % 20 / 4000)
                writing.cancel()
                done, _ = await asyncio.wait([writing], timeout=2)
                assert done, "the task goes on although it was cancelled"
                while driver._under_way:
                    await asyncio.wait(driver._under_way)
                first, second = await driver.get(["kv!@a", "kv!@b"])
                assert (first and first.value) == (second and second.value), "half of a batch"
