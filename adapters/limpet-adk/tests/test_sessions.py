"""The rules that ADK documents for session services, and those that its own services share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events import Event, EventActions
from google.adk.runners import Runner
from google.adk.sessions import Session
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.tools.tool_confirmation import ToolConfirmation
from google.genai import types
from limpet import ConfigurationError, InvalidKeyError, LimpetError, Persistence
from limpet_adapters.adk import LimpetSessionService

OF = {"app_name": "app", "user_id": "ada"}


@pytest.fixture
def service(persistence: Persistence) -> LimpetSessionService:
    return LimpetSessionService(persistence)


def changing(author: str = "user", **delta: Any) -> Event:
    """An event with a change of state; `__` in a name stands for a colon."""
    state = {name.replace("__", ":"): value for name, value in delta.items()}
    return Event(author=author, invocation_id="i", actions=EventActions(state_delta=state))


async def again(service: LimpetSessionService, session: Session, **config: Any) -> Session:
    found = await service.get_session(
        app_name=session.app_name, user_id=session.user_id, session_id=session.id, config=GetSessionConfig(**config)
    )
    assert found is not None
    return found


async def test_what_is_created_comes_back_equal(service: LimpetSessionService) -> None:
    made = await service.create_session(**OF, state={"a": 1, "b": {"c": [None, True, 1.5, "ä 😀"]}})
    assert (made.app_name, made.user_id, made.events) == ("app", "ada", [])
    assert made.id
    assert made.state == {"a": 1, "b": {"c": [None, True, 1.5, "ä 😀"]}}
    assert 0 < made.last_update_time <= time.time()
    assert await again(service, made) == made
    assert await service.get_session(**OF, session_id="unknown") is None
    assert await service.get_session(app_name="app", user_id="bob", session_id=made.id) is None


async def test_an_id_of_ones_own_is_trimmed_and_taken_once(service: LimpetSessionService) -> None:
    made = await service.create_session(**OF, session_id=" order-42\n", state={"cart": "book"})
    assert made.id == "order-42"
    for same in ("order-42", "  order-42  "):
        with pytest.raises(AlreadyExistsError):
            await service.create_session(**OF, session_id=same, state={"cart": "other", "user:seen": True})
    found = await service.get_session(**OF, session_id="order-42\n")
    assert found == made, "nothing of the refused ones, not even a user's state"
    assert (await service.create_session(**OF, session_id="   ")).id.strip()
    other = await service.create_session(app_name="app", user_id="bob", session_id="order-42")
    assert other.state == {}
    await service.delete_session(**OF, session_id=" order-42")
    assert await service.get_session(**OF, session_id="order-42") is None
    assert await again(service, other) == other
    await service.delete_session(**OF, session_id="never there")


async def test_events_come_back_whole_and_in_the_order_of_appending(service: LimpetSessionService) -> None:
    session = await service.create_session(**OF)
    whole = Event(
        invocation_id="i1",
        author="helper",
        content=types.Content(
            role="model",
            parts=[
                types.Part(text="Look"),
                types.Part.from_bytes(data=b"\xff\x00 bytes", mime_type="image/png"),
                types.Part.from_function_call(name="weather", args={"city": "Trieste", "days": [1, 2.5]}),
            ],
        ),
        turn_complete=True,
        partial=False,
        actions=EventActions(
            artifact_delta={"file": 0},
            transfer_to_agent="other",
            escalate=True,
            requested_tool_confirmations={"c1": ToolConfirmation(hint="sure?", confirmed=False, payload={"id": "a"})},
        ),
        long_running_tool_ids={"c1"},
        error_code="E",
        error_message="went wrong",
        interrupted=True,
        grounding_metadata=types.GroundingMetadata(
            web_search_queries=["q"], search_entry_point=types.SearchEntryPoint(sdk_blob=b"\x00\xfe")
        ),
        usage_metadata=types.GenerateContentResponseUsageMetadata(prompt_token_count=1, total_token_count=2),
        citation_metadata=types.CitationMetadata(),
        custom_metadata={"k": {"n": 1}},
        timestamp=1700000000.123,
        input_transcription=types.Transcription(text="in", finished=True),
        branch="a.b",
    )
    for event in (whole, Event(author="user"), Event(author="user", timestamp=1.0)):
        assert await service.append_event(session, event) is event
    found = await again(service, session)
    assert found == session
    assert found.events[0] == whole
    assert [event.timestamp for event in found.events] == [event.timestamp for event in session.events]


@pytest.mark.parametrize("scope", ["", "user:", "app:"])
async def test_a_change_of_state_replaces_a_value_and_keeps_null(service: LimpetSessionService, scope: str) -> None:
    started = {f"{scope}profile": {"name": "ada", "role": "admin"}, f"{scope}flag": False, f"{scope}gone": True}
    session = await service.create_session(**OF, state=started)
    delta = {f"{scope}profile": {"name": "bob"}, f"{scope}gone": None, f"{scope}new": True}
    await service.append_event(session, Event(author="user", actions=EventActions(state_delta=delta)))
    wanted = {**started, **delta}
    assert session.state == wanted
    found = await again(service, session)
    assert found.state == wanted
    assert found.state[f"{scope}flag"] is False
    assert found.state[f"{scope}new"] is True


async def test_each_scope_is_seen_by_those_it_belongs_to(service: LimpetSessionService) -> None:
    first = await service.create_session(**OF, state={"app:a": 1, "user:u": 1, "own": 1, "temp:t": 1})
    assert first.state == {"app:a": 1, "user:u": 1, "own": 1}
    await service.append_event(first, changing(app__b=2, user__v=2, own2=2))
    same_user = await service.create_session(**OF)
    other_user = await service.create_session(app_name="app", user_id="bob")
    other_app = await service.create_session(app_name="other", user_id="ada")
    assert same_user.state == {"app:a": 1, "app:b": 2, "user:u": 1, "user:v": 2}
    assert other_user.state == {"app:a": 1, "app:b": 2}
    assert other_app.state == {}
    await service.append_event(same_user, changing(app__a=10, user__u=10))
    assert (await again(service, first)).state == {
        "app:a": 10,
        "app:b": 2,
        "user:u": 10,
        "user:v": 2,
        "own": 1,
        "own2": 2,
    }


async def test_a_users_state_can_be_read_without_a_session(service: LimpetSessionService) -> None:
    assert await service.get_user_state(**OF) == {}
    session = await service.create_session(**OF)
    await service.append_event(session, changing(user__profile={"name": "Ada"}, own=1, app__all=1))
    await service.append_event(session, changing(user__count=1))
    await service.append_event(session, changing(user__count=2))
    assert await service.get_user_state(**OF) == {"profile": {"name": "Ada"}, "count": 2}
    await service.delete_session(**OF, session_id=session.id)
    assert await service.get_user_state(**OF) == {"profile": {"name": "Ada"}, "count": 2}
    assert await service.get_user_state(app_name="app", user_id="bob") == {}
    assert await service.get_user_state(app_name="other", user_id="ada") == {}


async def test_one_user_is_erased(service: LimpetSessionService) -> None:
    for user in ("ada", "bob"):
        for _ in range(2):
            session = await service.create_session(app_name="app", user_id=user, state={"user:u": user, "app:a": 1})
            await service.append_event(session, changing(own=1))
    await service.create_session(app_name="other", user_id="ada", state={"user:u": "kept"})
    assert await service.erase_user(**OF) == 2
    assert await service.erase_user(**OF) == 0
    assert (await service.list_sessions(**OF)).sessions == []
    assert await service.get_user_state(**OF) == {}
    assert await service.get_user_state(app_name="other", user_id="ada") == {"u": "kept"}
    left = (await service.list_sessions(app_name="app")).sessions
    assert [(session.user_id, session.state) for session in left] == [
        ("bob", {"own": 1, "user:u": "bob", "app:a": 1})
    ] * 2


async def test_temporary_state_is_seen_in_its_invocation_only(service: LimpetSessionService) -> None:
    session = await service.create_session(**OF)
    event = changing(temp__out="draft", kept="yes")
    await service.append_event(session, event)
    assert session.state == {"temp:out": "draft", "kept": "yes"}
    assert event.actions.state_delta == {"kept": "yes"}
    found = await again(service, session)
    assert found.state == {"kept": "yes"}
    assert found.events[0].actions.state_delta == {"kept": "yes"}


async def test_partial_events_are_not_stored(service: LimpetSessionService) -> None:
    session = await service.create_session(**OF)
    event = changing(a=1)
    event.partial = True
    assert await service.append_event(session, event) is event
    assert (session.events, session.state) == ([], {})
    assert await again(service, session) == session


async def test_the_last_update_is_the_newest_events_time(service: LimpetSessionService) -> None:
    session = await service.create_session(**OF)
    later = session.last_update_time + 10
    await service.append_event(session, Event(author="user", timestamp=later))
    assert session.last_update_time == later
    assert (await again(service, session)).last_update_time == later


async def test_some_of_the_events(service: LimpetSessionService) -> None:
    session = await service.create_session(**OF)
    for second in range(1, 251):
        await service.append_event(session, Event(author="user", timestamp=float(second)))

    async def seconds(**config: Any) -> list[int]:
        return [int(event.timestamp) for event in (await again(service, session, **config)).events]

    assert await seconds() == list(range(1, 251))
    assert await seconds(num_recent_events=0) == []
    assert await seconds(num_recent_events=3) == [248, 249, 250]
    assert await seconds(num_recent_events=1000) == list(range(1, 251))
    assert await seconds(after_timestamp=249.0) == [249, 250]
    assert await seconds(after_timestamp=100.0) == list(range(100, 251))
    assert await seconds(after_timestamp=0.0) == list(range(1, 251))
    assert await seconds(after_timestamp=251.0) == []
    assert await seconds(after_timestamp=249.0, num_recent_events=3) == [249, 250]
    assert await seconds(after_timestamp=100.0, num_recent_events=3) == [248, 249, 250]


async def test_sessions_are_listed_oldest_first_without_events(service: LimpetSessionService) -> None:
    for user, ids in (("ada", "cab"), ("bob", "x"), ("", "y")):
        for id in ids:
            made = await service.create_session(app_name="app", user_id=user, session_id=id, state={"own": id})
            moment = {"a": 30.0, "b": 10.0, "c": 20.0, "x": 20.0, "y": 5.0}[id]
            event = Event(author="user", timestamp=moment, actions=EventActions(state_delta={"user:u": id}))
            await service.append_event(made, event)
    await service.create_session(app_name="other", user_id="ada")

    async def listed(**of: Any) -> list[tuple[str, str]]:
        response = await service.list_sessions(**of)
        assert all(session.events == [] for session in response.sessions)
        assert all(session.state["own"] == session.id for session in response.sessions)
        return [(session.id, session.state["user:u"]) for session in response.sessions]

    assert await listed(**OF) == [("b", "b"), ("c", "b"), ("a", "b")]
    assert await listed(app_name="app") == [("y", "y"), ("b", "b"), ("c", "b"), ("x", "x"), ("a", "b")]
    assert await listed(app_name="app", user_id="") == [("y", "y")], "an empty id is a user like others"
    assert await listed(app_name="unknown") == await listed(app_name="app", user_id="unknown") == []


async def test_a_session_that_is_not_there(service: LimpetSessionService) -> None:
    session = await service.create_session(**OF)
    await service.delete_session(**OF, session_id=session.id)
    with pytest.raises(SessionNotFoundError):
        await service.append_event(session, changing(user__u=1))
    assert await service.get_user_state(**OF) == {}
    again_there = await service.create_session(**OF, session_id=session.id)
    assert (again_there.events, again_there.state) == ([], {})


async def test_what_json_cannot_hold_is_stored_as_text(
    service: LimpetSessionService, caplog: pytest.LogCaptureFixture
) -> None:
    session = await service.create_session(**OF, state={"callback": test_some_of_the_events})
    await service.append_event(session, changing(other=object(), ok=2))
    found = await again(service, session)
    assert isinstance(found.state["callback"], str)
    assert (type(found.state["other"]), found.state["ok"], len(found.events)) == (str, 2, 1)
    assert "is no JSON" in caplog.text


async def test_an_equal_event_is_added_once_and_another_with_its_id_too(service: LimpetSessionService) -> None:
    session = await service.create_session(**OF)
    event = changing(counter=1)
    for same in (event, event, event.model_copy(deep=True)):
        await service.append_event(session, same)
    other = Event(id=event.id, invocation_id="another", author="helper")
    await service.append_event(session, other)
    found = await again(service, session)
    assert [each.author for each in found.events] == ["user", "helper"]
    assert found.state == {"counter": 1}


async def test_everything_is_there_after_a_restart(reopened: Callable[[], Persistence]) -> None:
    before = reopened()
    service = LimpetSessionService(before)
    session = await service.create_session(**OF, session_id="s", state={"app:a": 1, "user:u": 1, "own": 1})
    await service.append_event(session, changing(own=2))
    await service.flush()
    await service.close()
    assert await service.get_user_state(**OF) == {"u": 1}, "a database of one's own stays open"
    assert await again(LimpetSessionService(reopened()), session) == session


@pytest.mark.parametrize(
    "hostile", ["../../etc/passwd", "a/b!c@d", "ä 😀", 'quote"], ["', "x" * 2000, "\n.\n", "'; --"]
)
async def test_hostile_names_are_names(service: LimpetSessionService, hostile: str) -> None:
    made = await service.create_session(app_name=hostile, user_id=hostile, session_id=f"{hostile}1", state={hostile: 1})
    await service.append_event(made, changing(user__u=1))
    assert await again(service, made) == made
    assert [session.id for session in (await service.list_sessions(app_name=hostile, user_id=hostile)).sessions] == [
        made.id
    ]
    await service.delete_session(app_name=hostile, user_id=hostile, session_id=made.id)
    assert (await service.list_sessions(app_name=hostile)).sessions == []


@pytest.mark.parametrize("hostile", ["x" * 10_000, "lone \ud800 surrogate"])
async def test_names_that_no_key_can_have_are_refused(service: LimpetSessionService, hostile: str) -> None:
    for names in ({"app_name": hostile, "user_id": "u"}, {"app_name": "a", "user_id": hostile}):
        with pytest.raises(LimpetError):
            await service.create_session(**names, state={"app:a": 1})
    with pytest.raises(InvalidKeyError):
        await service.create_session(**OF, session_id=hostile, state={"app:a": 1})
    assert (await service.create_session(**OF)).state == {}


async def test_names_do_not_run_together(service: LimpetSessionService) -> None:
    one = await service.create_session(app_name="a", user_id='b","c', session_id="d", state={"n": 1, "user:n": 1})
    two = await service.create_session(app_name="a", user_id="b", session_id='c","d', state={"n": 2, "user:n": 2})
    assert (await again(service, one), await again(service, two)) == (one, two)


async def test_threads_of_others_are_no_sessions(
    service: LimpetSessionService, persistence: Persistence, caplog: pytest.LogCaptureFixture
) -> None:
    await persistence.threads.create(id="t1", user_id="ada", agent_name="app")
    damaged = await service.create_session(**OF, session_id="damaged")
    good = await service.create_session(**OF, session_id="good")
    await persistence.threads.update('adk:["app","ada","damaged"]', metadata={})
    assert [session.id for session in (await service.list_sessions(**OF)).sessions] == ["good"]
    with pytest.raises(LimpetError, match="not that of a session"):
        await again(service, damaged)
    await service.append_event(good, changing(a=1))
    await persistence.threads.add_message('adk:["app","ada","good"]', "user", "not by ADK")
    assert (await again(service, good)).events == good.events
    assert caplog.text.count("was left out") >= 2


async def test_rewind(service: LimpetSessionService) -> None:
    from google.adk.agents import BaseAgent

    session = await service.create_session(**OF)
    for number in (1, 2, 3):
        delta = {"n": number, f"only{number}": True}
        event = Event(author="user", invocation_id=f"i{number}", actions=EventActions(state_delta=delta))
        await service.append_event(session, event)
    async with Runner(app_name="app", agent=BaseAgent(name="a"), session_service=service) as runner:
        await runner.rewind_async(user_id="ada", session_id=session.id, rewind_before_invocation_id="i2")
    found = await again(service, session)
    assert found.state == {"n": 1, "only1": True, "only2": None, "only3": None}
    assert found.events[-1].actions.rewind_before_invocation_id == "i2"


def test_no_database() -> None:
    with pytest.raises(ConfigurationError):
        LimpetSessionService(7)  # type: ignore[arg-type]
