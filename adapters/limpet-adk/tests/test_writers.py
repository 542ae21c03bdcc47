"""Several writers at once: nothing is lost, and who has not seen the newest event is told so."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from google.adk.errors import StaleSessionError
from google.adk.events import Event, EventActions
from google.adk.sessions import Session
from limpet import Persistence, create_persistence
from limpet.wrappers import encrypted
from limpet_adapters.adk import LimpetSessionService

OF = {"app_name": "app", "user_id": "ada"}


@pytest.fixture
def service(persistence: Persistence) -> LimpetSessionService:
    return LimpetSessionService(persistence)


def changing(name: str, value: object = True, timestamp: float | None = None) -> Event:
    event = Event(author="user", invocation_id=name, actions=EventActions(state_delta={name: value}))
    return event if timestamp is None else event.model_copy(update={"timestamp": timestamp})


async def read(service: LimpetSessionService, session: Session) -> Session:
    found = await service.get_session(**OF, session_id=session.id)
    assert found is not None
    return found


async def test_a_stale_writer_is_refused_and_changes_nothing(service: LimpetSessionService) -> None:
    one = await service.create_session(**OF)
    await service.append_event(one, changing("first"))
    two = await read(service, one)
    await service.append_event(two, changing("second"))
    with pytest.raises(StaleSessionError, match="modified in storage") as refused:
        await service.append_event(one, changing("user:third"))
    assert isinstance(refused.value, ValueError)
    found = await read(service, one)
    assert found == two
    assert [event.invocation_id for event in found.events] == ["first", "second"]
    assert await service.get_user_state(**OF) == {}
    await service.append_event(found, changing("third"))
    assert (await read(service, one)).state == {"first": True, "second": True, "third": True}


async def test_of_two_copies_written_at_once_one_wins(service: LimpetSessionService) -> None:
    made = await service.create_session(**OF)
    for turn in range(8):
        latest = await read(service, made)
        one, two = latest.model_copy(deep=True), latest.model_copy(deep=True)
        ended = await asyncio.gather(
            service.append_event(one, changing(f"{turn} one")),
            service.append_event(two, changing(f"{turn} two")),
            return_exceptions=True,
        )
        assert sorted(type(each).__name__ for each in ended) == ["Event", "StaleSessionError"]
    found = await read(service, made)
    assert len(found.events) == len(found.state) == 8


async def test_agents_that_share_a_session_object_take_turns(service: LimpetSessionService) -> None:
    session = await service.create_session(**OF)
    await asyncio.gather(*(service.append_event(session, changing(f"n{n}", n)) for n in range(30)))
    found = await read(service, session)
    assert found == session
    assert [event.invocation_id for event in found.events] == [event.invocation_id for event in session.events]
    assert found.state == {f"n{n}": n for n in range(30)}


async def test_sessions_that_share_a_user_and_an_app_lose_no_key(service: LimpetSessionService) -> None:
    sessions = await asyncio.gather(*(service.create_session(**OF, state={f"app:new{n}": n}) for n in range(10)))
    events = [
        service.append_event(each, changing(f"{scope}:{n}-{turn}"))
        for n, each in enumerate(sessions)
        for turn in range(3)
        for scope in ("app", "user")
    ]
    await asyncio.gather(*events)
    found = await read(service, sessions[0])
    wanted = {f"{scope}:{n}-{turn}" for scope in ("app", "user") for n in range(10) for turn in range(3)}
    assert set(found.state) == wanted | {f"app:new{n}" for n in range(10)}


async def test_a_session_without_a_revision_is_judged_by_its_newest_event(service: LimpetSessionService) -> None:
    session = await service.create_session(**OF)
    await service.append_event(session, changing("one", timestamp=session.last_update_time + 10))
    drifted = Session(**session.model_dump())
    drifted.last_update_time -= 0.0001
    old = Session(**{**session.model_dump(), "events": [], "last_update_time": 0.0})
    with pytest.raises(StaleSessionError):
        await service.append_event(old, changing("no"))
    await service.append_event(drifted, changing("two"))
    assert [event.invocation_id for event in (await read(service, session)).events] == ["one", "two"]


async def test_a_session_of_the_same_id_is_another_one(service: LimpetSessionService) -> None:
    before = await service.create_session(**OF, session_id="s")
    await service.delete_session(**OF, session_id="s")
    await service.create_session(**OF, session_id="s")
    with pytest.raises(StaleSessionError):
        await service.append_event(before, changing("late"))


async def test_a_reader_sees_state_and_events_of_one_moment(service: LimpetSessionService) -> None:
    session = await service.create_session(**OF)

    async def write() -> None:
        for n in range(40):
            await service.append_event(session, changing(f"n{n}"))

    async def look() -> None:
        for _ in range(40):
            found = await read(service, session)
            assert {event.invocation_id for event in found.events} == set(found.state)

    await asyncio.gather(write(), look())


WRITER = """
import asyncio, sys
from google.adk.errors import StaleSessionError
from google.adk.events import Event, EventActions
from limpet_adapters.adk import LimpetSessionService

async def main(url, name):
    of = {"app_name": "app", "user_id": "ada", "session_id": "s"}
    async with LimpetSessionService(url) as service:
        for n in range(15):
            delta = {f"{name}{n}": n, f"app:{name}{n}": n, f"user:{name}{n}": n}
            event = Event(author=name, invocation_id=f"{name}{n}", actions=EventActions(state_delta=delta))
            while True:
                try:
                    await service.append_event(await service.get_session(**of), event)
                except StaleSessionError:
                    continue
                break

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path.as_posix()}/a.db"
    async with LimpetSessionService(url) as service:
        session = await service.create_session(**OF, session_id="s")
        command = [sys.executable, "-c", WRITER, url]
        writers = [await asyncio.create_subprocess_exec(*command, name) for name in ("a", "b", "c")]
        assert [await writer.wait() for writer in writers] == [0, 0, 0]
        found = await read(service, session)
    names = {f"{name}{n}" for name in "abc" for n in range(15)}
    assert {event.invocation_id for event in found.events} == names
    assert len(found.events) == 45
    assert set(found.state) == {f"{scope}{name}" for scope in ("", "app:", "user:") for name in names}


def test_two_event_loops_use_one_service(tmp_path: Path) -> None:
    service = LimpetSessionService(f"sqlite:///{tmp_path.as_posix()}/a.db")
    session = asyncio.run(service.create_session(**OF))
    asyncio.run(service.append_event(session, changing("one")))
    asyncio.run(service.append_event(session, changing("two")))
    found = asyncio.run(read(service, session))
    assert found == session
    asyncio.run(service.close())


async def test_services_of_a_url_share_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path.as_posix()}/a.db"
    async with LimpetSessionService(url) as one:
        async with LimpetSessionService(url) as two:
            assert one.persistence is two.persistence
            session = await two.create_session(**OF)
        assert await read(one, session) == session


async def test_on_ones_own_event_loop_and_encrypted(tmp_path: Path) -> None:
    around = [encrypted(key="07" * 32)]
    async with create_persistence(f"sqlite:///{tmp_path.as_posix()}/a.db", wrappers=around) as persistence:
        service = LimpetSessionService(persistence)
        session = await service.create_session(**OF, state={"user:secret": "canary"})
        await service.append_event(session, changing("app:canary", "canary"))
        assert await read(service, session) == session
    assert b"canary" not in (tmp_path / "a.db").read_bytes()


async def test_a_retry_after_a_lost_answer_adds_no_second_event(reopened: Callable[[], Persistence]) -> None:
    service = LimpetSessionService(reopened())
    session = await service.create_session(**OF)
    lost = session.model_copy(deep=True)
    event = changing("n", 1)
    await service.append_event(session, event)
    with pytest.raises(
        StaleSessionError
    ):  # as after an answer that did not arrive: the copy does not know of the event
        await service.append_event(lost, event)
    await service.append_event(await read(service, session), event)
    assert len((await read(service, session)).events) == 1
