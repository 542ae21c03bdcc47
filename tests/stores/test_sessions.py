"""Sessions and their messages, on every driver."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from limpet import InvalidCursorError, InvalidValueError, NotFoundError, Persistence
from limpet.driver import Delete, Range
from limpet.records import (
    ContainerRecord,
    ErrorMessage,
    ImageRecord,
    Message,
    SessionRecord,
    ToolCallMessage,
    ToolResultMessage,
    UserMessage,
)


async def fill(persistence: Persistence, count: int, session_id: str = "s1") -> list[Message]:
    await persistence.sessions.save_session(SessionRecord(session_id=session_id))
    return [await persistence.sessions.add_message(session_id, UserMessage(content=f"m{n}")) for n in range(count)]


async def test_the_main_job(persistence: Persistence) -> None:
    await persistence.containers.save_container(ContainerRecord(container_id="c1"))
    await persistence.images.save_image(
        ImageRecord(image_id="img_1", container_id="c1", session_id="s1", name="My Assistant")
    )
    await persistence.sessions.save_session(SessionRecord(session_id="s1", image_id="img_1", container_id="c1"))
    message = await persistence.sessions.add_message("s1", UserMessage(content="Hello!"))
    assert message.seq == 0
    assert message.id
    assert message.timestamp
    assert list(await persistence.sessions.get_messages("s1", last=50)) == [message]
    page = await persistence.images.find_images_by_container_id("c1", limit=20)
    assert [image.name for image in page] == ["My Assistant"]
    assert page.cursor is None
    assert [image.image_id async for image in persistence.images.find_images_by_container_id("c1")] == ["img_1"]


async def test_missing_gives_none_or_nothing(persistence: Persistence) -> None:
    sessions = persistence.sessions
    assert await sessions.find_session_by_id("no") is None
    assert await sessions.find_session_by_image_id("no") is None
    assert await sessions.find_sessions_by_container_id("no") == []
    assert await sessions.find_all_sessions() == []
    assert await sessions.get_messages("no") == []
    assert await sessions.get_messages("no", last=5) == []
    assert await sessions.count_messages("no") == 0
    assert await sessions.clear_messages("no") == 0
    assert not await sessions.session_exists("no")
    await sessions.delete_session("no")


async def test_saving_is_an_upsert_that_keeps_the_messages(persistence: Persistence) -> None:
    await fill(persistence, 3)
    first = await persistence.sessions.find_session_by_id("s1")
    assert first is not None
    await persistence.sessions.save_session(SessionRecord(session_id="s1", image_id="img_2"))
    second = await persistence.sessions.find_session_by_id("s1")
    assert second is not None
    assert second.image_id == "img_2"
    assert second.created_at == first.created_at
    assert await persistence.sessions.count_messages("s1") == 3


async def test_lists_run_newest_first_and_page_by_cursor(persistence: Persistence) -> None:
    for n in range(25):
        await persistence.sessions.save_session({"sessionId": f"s{n:02}", "containerId": "c", "createdAt": n * 1000})
    everything = [session.session_id async for session in persistence.sessions.find_sessions_by_container_id("c")]
    assert everything == [f"s{n:02}" for n in reversed(range(25))]
    paged, cursor = [], None
    while True:
        page = await persistence.sessions.find_sessions_by_container_id("c", limit=7, cursor=cursor)
        paged += [session.session_id for session in page]
        cursor = page.cursor
        if cursor is None:
            break
        assert len(page) == 7
    assert paged == everything
    newest = await persistence.sessions.find_all_sessions(limit=3)
    assert [session.session_id for session in newest] == ["s24", "s23", "s22"]
    assert len(await persistence.sessions.find_all_sessions()) == 25


async def test_a_cursor_fits_its_own_query_only(persistence: Persistence) -> None:
    for n in range(3):
        await persistence.sessions.save_session({"sessionId": f"s{n}", "containerId": "c"})
    page = await persistence.sessions.find_sessions_by_container_id("c", limit=1)
    with pytest.raises(InvalidCursorError):
        await persistence.sessions.find_sessions_by_container_id("d", limit=1, cursor=page.cursor)
    with pytest.raises(InvalidCursorError):
        await persistence.sessions.find_all_sessions(cursor="no cursor at all")
    with pytest.raises(InvalidValueError):
        await persistence.sessions.find_all_sessions(limit=0)


async def test_of_several_sessions_of_an_image_the_newest_is_found(persistence: Persistence) -> None:
    for session_id, moment in (("b", 1000), ("c", 3000), ("a", 2000)):
        await persistence.sessions.save_session({"sessionId": session_id, "imageId": "i", "createdAt": moment})
    found = await persistence.sessions.find_session_by_image_id("i")
    assert found is not None
    assert found.session_id == "c"


async def test_messages_page_in_both_directions(persistence: Persistence) -> None:
    await fill(persistence, 23)
    sessions = persistence.sessions
    newest = await sessions.get_messages("s1", last=10)
    assert [message.seq for message in newest] == list(range(13, 23))
    older = await sessions.get_messages("s1", last=10, cursor=newest.cursor)
    assert [message.seq for message in older] == list(range(3, 13))
    oldest = await sessions.get_messages("s1", last=10, cursor=older.cursor)
    assert [message.seq for message in oldest] == [0, 1, 2]
    assert oldest.cursor is None
    first = await sessions.get_messages("s1", limit=20)
    rest = await sessions.get_messages("s1", limit=20, cursor=first.cursor)
    assert [message.seq for message in (*first, *rest)] == list(range(23))
    assert [message.seq for message in await sessions.get_messages("s1", after=4, before=8)] == [5, 6, 7]
    assert [message.seq for message in await sessions.get_messages("s1", last=2, before=5)] == [3, 4]
    assert [message.seq async for message in sessions.get_messages("s1", last=3)] == [20, 21, 22]
    with pytest.raises(InvalidValueError):
        await sessions.get_messages("s1", last=1, limit=1)


async def test_every_subtype_comes_back_as_it_went_in(persistence: Persistence) -> None:
    await persistence.sessions.save_session(SessionRecord(session_id="s1"))
    given = [
        {"id": "1", "role": "user", "subtype": "user", "content": "Hi", "timestamp": 1730227876509},
        {
            "id": "2",
            "role": "assistant",
            "subtype": "tool_call",
            "toolCall": {"type": "tool-call", "id": "t"},
            "timestamp": 1,
        },
        {
            "id": "3",
            "role": "tool",
            "subtype": "tool-result",
            "toolCallId": "t",
            "toolResult": {"x": [1]},
            "timestamp": 2,
        },
        {"id": "4", "role": "error", "subtype": "error", "content": "no", "errorCode": "E", "timestamp": 3},
        {"id": "5", "subtype": "telepathy", "content": {"deep": None}, "strength": 11, "timestamp": 4},
    ]
    for message in given:
        await persistence.sessions.add_message("s1", message)
    found = await persistence.sessions.get_messages("s1")
    assert [type(message) for message in found] == [
        UserMessage,
        ToolCallMessage,
        ToolResultMessage,
        ErrorMessage,
        Message,
    ]
    assert found[0].timestamp == datetime(2024, 10, 29, 18, 51, 16, 509000, tzinfo=UTC)
    dumped = [message.model_dump(mode="json", by_alias=True, exclude_none=True) for message in found]
    given[1]["subtype"] = "tool-call"
    given[4]["content"] = {}
    dumped[4]["content"] = {k: v for k, v in dumped[4]["content"].items() if v is not None}
    assert dumped == given
    assert found[4].model_extra == {"content": {"deep": None}, "strength": 11}


async def test_adding_to_no_session_raises_unless_asked_to_create_it(persistence: Persistence) -> None:
    sessions = persistence.sessions
    with pytest.raises(NotFoundError, match="save it first"):
        await sessions.add_message("s1", UserMessage(content="x"))
    with pytest.raises(KeyError):
        await sessions.add_message("s1", UserMessage(id="m", content="x"), unique=True)
    assert await sessions.get_messages("s1") == []
    await sessions.add_message("s1", UserMessage(content="x"), create=SessionRecord(session_id="s1", image_id="i"))
    await sessions.add_message("s2", UserMessage(content="y"), create=True)
    found = await sessions.find_session_by_image_id("i")
    assert found is not None
    assert found.session_id == "s1"
    assert await sessions.session_exists("s2")
    await asyncio.gather(*(sessions.add_message("s3", UserMessage(content=str(n)), create=True) for n in range(10)))
    assert await sessions.count_messages("s3") == 10


async def test_unique_ids_are_added_once(persistence: Persistence) -> None:
    await fill(persistence, 2)
    message = UserMessage(id="m", content="first")
    added = await asyncio.gather(*(persistence.sessions.add_message("s1", message, unique=True) for _ in range(8)))
    assert {each.seq for each in added} == {2}
    again = await persistence.sessions.add_message("s1", UserMessage(id="m", content="second"), unique=True)
    assert isinstance(again, UserMessage)
    assert again.content == "first"
    assert await persistence.sessions.count_messages("s1") == 3
    await persistence.sessions.truncate_after_message("s1", 1)
    anew = await persistence.sessions.add_message("s1", UserMessage(id="m", content="third"), unique=True)
    assert isinstance(anew, UserMessage)
    assert anew.content == "third"
    with pytest.raises(InvalidValueError):
        await persistence.sessions.add_message("s1", UserMessage(content="no id"), unique=True)


async def test_truncating_and_clearing(persistence: Persistence) -> None:
    sessions = persistence.sessions
    messages = await fill(persistence, 10)
    assert await sessions.truncate_after_message("s1", str(messages[4].id)) == 5
    assert [message.seq for message in await sessions.get_messages("s1")] == [0, 1, 2, 3, 4]
    added = await sessions.add_message("s1", UserMessage(content="after"))
    assert added.seq == 10, "numbers are never used again"
    assert [message.seq for message in await sessions.get_messages("s1", last=3)] == [3, 4, 10]
    assert await sessions.truncate_after_message("s1", 2) == 3
    assert await sessions.count_messages("s1") == 3
    with pytest.raises(NotFoundError):
        await sessions.truncate_after_message("s1", "no such id")
    assert await sessions.clear_messages("s1") == 3
    assert await sessions.get_messages("s1") == []
    assert await sessions.session_exists("s1")
    assert (await sessions.add_message("s1", UserMessage(content="new"))).seq == 11


async def test_deleting_a_session_deletes_its_messages_and_a_new_one_starts_empty(persistence: Persistence) -> None:
    sessions = persistence.sessions
    await fill(persistence, 5)
    await sessions.delete_session("s1")
    assert not await sessions.session_exists("s1")
    assert await sessions.get_messages("s1") == []
    with pytest.raises(NotFoundError):
        await sessions.add_message("s1", UserMessage(content="late"))
    page = await persistence.driver.scan(Range("messages"))
    assert [item.key for item in page.items] == ["messages!@s1!n"], "only the counter stays, and it expires"
    assert page.items[0].ttl_ms is not None
    await fill(persistence, 2)
    assert [message.seq for message in await sessions.get_messages("s1")] == [5, 6]


async def test_long_conversations_are_swept_by_purge(persistence: Persistence) -> None:
    await persistence.sessions.save_session(SessionRecord(session_id="s1"))
    log = persistence.sessions._messages.log("s1")
    for _ in range(3):
        await log.append(*["{}"] * 400)
    await persistence.sessions.delete_session("s1")
    assert await persistence.sessions.get_messages("s1") == []
    assert await persistence.collect_garbage() >= 1200
    assert [item.key for item in (await persistence.driver.scan(Range("messages"))).items] == ["messages!@s1!n"]
    assert (await persistence.driver.scan(Range("garbage"))).items == []


async def test_appending_while_the_session_is_deleted_is_stored_or_refused(persistence: Persistence) -> None:
    sessions = persistence.sessions
    await fill(persistence, 1)

    async def add(n: int) -> bool:
        try:
            await sessions.add_message("s1", UserMessage(content=str(n)))
        except NotFoundError:
            return False
        return True

    results = await asyncio.gather(
        *(add(n) for n in range(10)), sessions.delete_session("s1"), *(add(n) for n in range(10))
    )
    assert await sessions.get_messages("s1") == []
    assert not await sessions.session_exists("s1")
    assert results.count(False) + results.count(True) == 20


async def test_what_a_caller_changes_afterwards_changes_nothing_stored(persistence: Persistence) -> None:
    message = UserMessage(content=[{"type": "text", "text": "a"}])
    await persistence.sessions.save_session(SessionRecord(session_id="s1"))
    stored = await persistence.sessions.add_message("s1", message)
    assert isinstance(message.content, list)
    message.content.append("changed")
    assert isinstance(stored, UserMessage)
    found = await persistence.sessions.get_messages("s1")
    assert isinstance(found[0], UserMessage)
    assert found[0].content == [{"type": "text", "text": "a"}]


async def test_a_session_that_lost_its_log_is_mended_by_create(persistence: Persistence) -> None:
    await fill(persistence, 1)
    await persistence.driver.apply([Delete("messages!@s1")])
    with pytest.raises(NotFoundError):
        await persistence.sessions.add_message("s1", UserMessage(content="x"))
    session = await persistence.sessions.find_session_by_id("s1")
    added = await persistence.sessions.add_message("s1", UserMessage(content="x"), create=True)
    assert added.seq == 1
    assert await persistence.sessions.find_session_by_id("s1") == session


async def test_naive_times_are_refused_and_others_become_utc(persistence: Persistence) -> None:
    for naive in ("2026-01-01T00:00:00", datetime(2026, 1, 1)):  # noqa: DTZ001
        with pytest.raises(InvalidValueError, match="time zone"):
            await persistence.sessions.save_session({"sessionId": "s", "createdAt": naive})
    saved = await persistence.sessions.save_session({"sessionId": "s", "createdAt": "2026-01-01T01:00:00.123456+01:00"})
    assert saved.created_at == datetime(2026, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)
