"""Forks of AgentX's sessions and images, on every driver."""

from __future__ import annotations

import pytest
from limpet import ConflictError, NotFoundError, Persistence
from limpet.records import ImageRecord, SessionRecord, UserMessage


async def conversation(persistence: Persistence, messages: int = 4) -> None:
    await persistence.images.save_image(
        ImageRecord(image_id="i1", container_id="c", session_id="s1", name="Cat", system_prompt="Purr.")
    )
    await persistence.sessions.save_session(SessionRecord(session_id="s1", image_id="i1", container_id="c"))
    for n in range(messages):
        await persistence.sessions.add_message("s1", UserMessage(id=f"m{n}", content=str(n)))


async def ids(persistence: Persistence, session_id: str) -> list[str | None]:
    return [message.id for message in await persistence.sessions.get_messages(session_id)]


async def test_a_session_is_forked(persistence: Persistence) -> None:
    sessions = persistence.sessions
    await conversation(persistence)
    fork = await sessions.fork("s1", at="m1", id="s2")
    assert (fork.image_id, fork.container_id, fork.parent_session_id) == ("i1", "c", "s1")
    assert fork == await sessions.find_session_by_id("s2")
    await sessions.add_message("s2", UserMessage(id="own", content="x"))
    assert await ids(persistence, "s2") == ["m0", "m1", "own"]
    assert await ids(persistence, "s1") == ["m0", "m1", "m2", "m3"]
    last = await sessions.fork("s2")
    tree = await sessions.lineage("s2")
    assert (tree.ancestors, tree.descendants) == (("s1",), (last.session_id,))
    assert {each.session_id for each in await sessions.find_sessions_by_container_id("c")} == {
        "s1",
        "s2",
        last.session_id,
    }
    await sessions.delete_session("s1")
    await persistence.collect_garbage()
    assert await ids(persistence, last.session_id) == ["m0", "m1", "own"]
    assert (await sessions.lineage(last.session_id)).ancestors == ("s1", "s2")


async def test_an_image_is_forked_with_its_session_in_one_batch(persistence: Persistence) -> None:
    images = persistence.images
    await conversation(persistence)
    fork = await images.fork("i1", at=2, id="i2", session_id="s2", name="Cat, if")
    assert (fork.parent_image_id, fork.session_id, fork.name, fork.system_prompt) == ("i1", "s2", "Cat, if", "Purr.")
    assert fork == await images.find_image_by_id("i2")
    session = await persistence.sessions.find_session_by_image_id("i2")
    assert session is not None
    assert (session.session_id, session.parent_session_id, session.container_id) == ("s2", "s1", "c")
    assert await ids(persistence, "s2") == ["m0", "m1", "m2"]
    await images.fork("i2", id="i3")
    await images.save_image({"imageId": "i4", "containerId": "c", "sessionId": "s4", "parentImageId": "i3"})
    assert (await images.lineage("i1")).descendants == ("i2", "i3", "i4")
    assert (await images.lineage("i4")).ancestors == ("i1", "i2", "i3")
    await images.delete_image("i2", cascade=True)
    await persistence.collect_garbage()
    saved = await images.save_image({"imageId": "i3", "containerId": "c", "sessionId": "s3", "parentImageId": "i2"})
    assert saved.ancestors == ["i1", "i2"], "kept, though the parent is gone"
    assert (await images.lineage("i1")).descendants == ("i3", "i4")


async def test_what_cannot_be_forked(persistence: Persistence) -> None:
    await conversation(persistence)
    await persistence.sessions.save_session({"sessionId": "s2"})
    for call, error in (
        (persistence.sessions.fork("no"), NotFoundError),
        (persistence.sessions.fork("s1", at=9), NotFoundError),
        (persistence.sessions.fork("s1", at="nobody"), NotFoundError),
        (persistence.sessions.fork("s1", id="s2"), ConflictError),
        (persistence.images.fork("no"), NotFoundError),
        (persistence.images.fork("i1", id="i1"), ConflictError),
        (persistence.images.fork("i1", id="i2", session_id="s2"), ConflictError),
        (persistence.sessions.lineage("no"), NotFoundError),
        (persistence.images.lineage("no"), NotFoundError),
    ):
        with pytest.raises(error):
            await call
    assert await persistence.images.find_image_by_id("i2") is None
    assert len(await persistence.sessions.find_all_sessions()) == 2
