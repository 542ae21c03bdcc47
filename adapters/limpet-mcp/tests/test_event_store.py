"""The rules of MCP's `EventStore`, and what is behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from limpet import ConfigurationError, Persistence, create_persistence
from limpet.driver import Put, Range
from limpet_adapters.mcp import LimpetEventStore
from limpet_adapters.mcp._sessions import Request, Session, current
from mcp.server.streamable_http import EventMessage
from mcp.types import JSONRPCMessage
from proof.databases import Database
from pydantic import TypeAdapter

MESSAGES: TypeAdapter[Any] = TypeAdapter(JSONRPCMessage)


def message(n: Any) -> Any:
    return MESSAGES.validate_python({"jsonrpc": "2.0", "method": "notifications/message", "params": {"n": n}})


@contextmanager
def within(session: Session) -> Iterator[None]:
    request = Request(session)
    token = current.set(request)
    try:
        yield
    finally:
        request.go_on()
        current.reset(token)


ADA, BOB = Session(name="a" * 32), Session(name="b" * 32)


@pytest.fixture
async def persistence(database: Database) -> AsyncIterator[Persistence]:
    async with database.open() as opened:
        yield opened


@pytest.fixture
async def store(persistence: Persistence) -> AsyncIterator[LimpetEventStore]:
    async with LimpetEventStore(persistence) as opened:
        yield opened


async def put(store: LimpetEventStore, stream: str, n: Any, session: Session = ADA) -> str:
    with within(session):
        return await store.store_event(stream, None if n is None else message(n))


async def replayed(
    store: LimpetEventStore, after: str, session: Session = ADA
) -> tuple[str | None, list[tuple[Any, str | None]]]:
    """The stream, and what was sent: each number with the event's id."""
    sent: list[EventMessage] = []

    async def send(event: EventMessage) -> None:
        sent.append(event)

    with within(session):
        stream = await store.replay_events_after(after, send)
    return stream, [(MESSAGES.dump_python(each.message)["params"]["n"], each.event_id) for each in sent]


async def test_what_follows_on_a_stream_is_sent_in_order_with_its_ids(store: LimpetEventStore) -> None:
    ids = {n: await put(store, "odd" if n % 2 else "even", n) for n in range(250)}
    assert len(set(ids.values())) == 250
    assert await replayed(store, ids[3]) == ("odd", [(n, ids[n]) for n in range(5, 250, 2)])
    assert await replayed(store, ids[248]) == ("even", [])
    assert await replayed(store, ids[246]) == ("even", [(248, ids[248])])


async def test_the_beginning_of_a_stream_is_a_place_to_go_on_from_and_no_message(store: LimpetEventStore) -> None:
    first = await put(store, "s", None)
    assert await replayed(store, first) == ("s", [])
    one = await put(store, "s", 1)
    again = await put(store, "s", None)
    two = await put(store, "s", 2)
    assert await replayed(store, first) == ("s", [(1, one), (2, two)])
    assert await replayed(store, again) == ("s", [(2, two)])


async def test_messages_come_back_as_they_are_sent(store: LimpetEventStore) -> None:
    first = await put(store, "s", None)
    bodies: list[dict[str, Any]] = [
        {
            "jsonrpc": "2.0",
            "id": "1",
            "result": {"content": [{"type": "text", "text": "ä 😀 \0"}], "_meta": {"a": None}},
        },
        {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "no", "data": [1.5, 2**70]}},
        {"jsonrpc": "2.0", "id": 2, "method": "sampling/createMessage", "params": {"x": [[]]}},
    ]
    sent = [MESSAGES.validate_python(body) for body in bodies]
    found: list[str] = []

    async def send(event: EventMessage) -> None:
        found.append(event.message.model_dump_json(by_alias=True, exclude_unset=True))

    with within(ADA):
        for each in sent:
            await store.store_event("s", each)
        await store.replay_events_after(first, send)
    assert found == [each.model_dump_json(by_alias=True, exclude_unset=True) for each in sent]


@pytest.mark.parametrize(
    "stream", ["", "1", "_GET_stream", "a.b=~/!#", "ä 😀", "x" * 5000, "\n\0"], ids=lambda each: repr(each)[:20]
)
async def test_any_text_names_a_stream_and_ids_fit_into_a_header(store: LimpetEventStore, stream: str) -> None:
    first = await put(store, stream, None)
    await put(store, stream + "x", 1)
    assert await replayed(store, first) == (stream, [])
    two = await put(store, stream, 2)
    assert await replayed(store, first) == (stream, [(2, two)])
    assert len(first) < 400
    assert first.isascii()
    assert first.isprintable()


async def test_of_another_session_nothing_is_sent(store: LimpetEventStore) -> None:
    hers, his = await put(store, "1", "hers", ADA), await put(store, "1", "his", BOB)
    later = await put(store, "1", "hers too", ADA)
    assert await replayed(store, hers, BOB) == (None, [])
    assert await replayed(store, his, BOB) == ("1", [])
    assert await replayed(store, hers, ADA) == ("1", [("hers too", later)])
    assert await replayed(store, hers.replace("a" * 32, "b" * 32), BOB) == ("1", [])  # a number that is one of his, too


async def test_ids_that_are_none_of_its_own(store: LimpetEventStore) -> None:
    known = await put(store, "s", 1)
    session, n, name = known.split(".")
    for wrong in (
        "", "x", "1", known + "x", f"{session}.9{n}.{name}", f"{session}.{n}", f"{session}.-1.{name}", f"{session}.{n}.={'A' * 9}",
        f"{session}.{n}.~{'A' * 43}", f"{session}.{n}.=_w", f"{'0' * 32}.{n}.{name}", f"{session}.{'9' * 17}.{name}", "\0" * 500, known + "\n",
    ):  # fmt: skip
        stream, sent = await replayed(store, wrong)
        assert sent == []
        assert stream in (None, "\0" * 6 + "\0")


async def test_outside_of_a_session_nothing_is_stored(store: LimpetEventStore, persistence: Persistence) -> None:
    with pytest.raises(ConfigurationError, match="add_middleware"):
        await store.store_event("s", message(1))
    assert not (await persistence.driver.scan(Range("events-mcp"))).items


async def test_the_newest_events_of_each_session_are_kept(persistence: Persistence) -> None:
    async with LimpetEventStore(persistence, max_count=3, prune_interval=timedelta(seconds=0.2)) as store:
        ids = [await put(store, "s", n) for n in range(6)]
        his = await put(store, "s", 0, BOB)
        async with asyncio.timeout(20):
            while len((await replayed(store, ids[0]))[1]) > 3:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await replayed(store, ids[0]) == ("s", [(n, ids[n]) for n in (3, 4, 5)])
        assert await replayed(store, his, BOB) == ("s", [])


async def test_old_events_are_forgotten_and_no_others(persistence: Persistence) -> None:
    plain = persistence.events(retention=None, prune_interval=None)
    await plain.publish("mine", 1)
    async with LimpetEventStore(
        persistence, retention=timedelta(seconds=0.5), prune_interval=timedelta(seconds=0.2)
    ) as store:
        first = await put(store, "s", 1)
        await put(store, "s", 2)
        async with asyncio.timeout(20):
            while (await replayed(store, first))[1]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await replayed(store, first) == ("s", [])  # the id still names its stream
        later = await put(store, "s", 3)
        assert await replayed(store, first) == ("s", [(3, later)])
    assert [each.event for each in (await plain.recover("mine")).events] == [1]
    await plain.aclose()


async def test_concurrent_writers_lose_nothing_and_agree_on_the_order(database: Database) -> None:
    async with database.open() as one, database.open() as two:
        opened = (one, two) if database.is_kept else (one, one)
        async with LimpetEventStore(opened[0]) as here, LimpetEventStore(opened[1]) as there:
            first = await put(here, "s", None)
            ids = await asyncio.gather(*(put((here, there)[n % 2], "s", n) for n in range(50)))
            stream, sent = await replayed(here, first)
            assert (stream, sorted(sent)) == ("s", sorted(enumerate(ids)))
            assert await replayed(there, first) == (stream, sent)


async def test_a_store_that_is_opened_again_has_everything(database: Database) -> None:
    if not database.is_kept:
        pytest.skip("memory is not kept")
    async with database.open() as opened, LimpetEventStore(opened) as store:
        first, one = await put(store, "s", None), await put(store, "s", 1)
    async with database.open() as opened, LimpetEventStore(opened) as store:
        two = await put(store, "s", 2)
        assert await replayed(store, first) == ("s", [(1, one), (2, two)])


def test_any_event_loop_can_use_it(database: Database) -> None:
    persistence = database.open()
    store = LimpetEventStore(persistence)
    first = asyncio.run(put(store, "s", None))
    one = asyncio.run(put(store, "s", 1))
    assert asyncio.run(replayed(store, first)) == ("s", [(1, one)])
    asyncio.run(store.aclose())
    asyncio.run(persistence.aclose())


async def test_a_damaged_event_is_left_out(
    store: LimpetEventStore, persistence: Persistence, caplog: pytest.LogCaptureFixture
) -> None:
    first = await put(store, "s", None)
    ids = [await put(store, "s", n) for n in range(3)]
    page = await persistence.driver.scan(Range(f"events-mcp!@{ADA.name}!e"))
    await persistence.driver.apply([Put(page.items[2].key, "{")])
    assert await replayed(store, first) == ("s", [(0, ids[0]), (2, ids[2])])
    assert "cannot be read" in caplog.text


async def test_what_cannot_be_stored_is_delivered_without_an_id(caplog: pytest.LogCaptureFixture) -> None:
    place = await create_persistence("memory://")
    async with LimpetEventStore(place) as store:
        first = await put(store, "s", 1)
        await place.aclose()
        assert await put(store, "s", 2) == ""
        assert first != ""
    assert "could not be stored" in caplog.text


async def test_from_url_takes_the_options_of_both() -> None:
    async with LimpetEventStore.from_url(
        "memory://", retention=timedelta(minutes=1), max_count=None, wrappers=[]
    ) as store:
        first = await put(store, "s", 1)
        assert await replayed(store, first) == ("s", [])
