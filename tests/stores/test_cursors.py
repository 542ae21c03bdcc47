"""Cursors of every list, on every driver: bound to their query, checked, and of no use for reading anything else."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limpet import ALL, InvalidCursorError, Persistence, create_persistence
from limpet.records import ContainerRecord, ImageRecord, SessionRecord, UserMessage
from limpet.structures import Listing
from limpet.structures._cursors import Cursors, Numbers, Positions

HIDDEN = "hidden-from-bob"
Make = Callable[..., Listing[Any]]


def parent(who: str, n: int) -> Any:
    return {"parent_id": f"{who}-{n - 1}"} if n else {}


async def fill(persistence: Persistence) -> dict[str, tuple[Make, Make]]:
    """Every list of the library, each with one on something else that the cursor of the first must not open."""
    bob, other = persistence.kv(dict, "bob"), persistence.kv(dict, HIDDEN)
    for n in range(4):
        await bob.set(f"b{n}", {"n": n})
        await other.set(f"{HIDDEN}-{n}", {"n": n})
    sessions, images, threads = persistence.sessions, persistence.images, persistence.threads
    for who in ("bob", HIDDEN):
        await persistence.containers.save_container(ContainerRecord(container_id=who))
        for n in range(4):
            session, thread = f"{who}-s{n}", f"{who}-t{n}"
            await sessions.save_session(SessionRecord(session_id=session, image_id=who, container_id=who))
            await images.save_image(ImageRecord(image_id=f"{who}-{n}", container_id=who, session_id="s", name=who))
            await threads.create(user_id=who, agent_name="a", id=thread)
            await persistence.feedback.create("bob-t0", rating=n + 1, user_id=who, id=thread)
            await persistence.approvals.create(thread, agent_name=who, node_name="n", state=1, id=thread)
            await persistence.blobs.create(b"x", id=thread)
            await persistence.checkpoints.put(who, {"n": n}, metadata={"who": who}, id=f"{who}-{n}", **parent(who, n))
            await persistence.checkpoints.put(who, {"n": n}, namespace=f"{who}-ns{n}")
        for _ in range(8):
            await sessions.add_message(f"{who}-s0", UserMessage(content=who))
            await threads.add_message(f"{who}-t0", "user", who)
    state, queue = persistence.state(dict, "bob", history=5), persistence.events(prune_interval=None)
    for n in range(4):
        async with state as value:
            value["n"] = n
        await queue.publish(f"channel {n}", n)
    work = persistence.work("bob", max_attempts=1)
    await work.put(*range(3))
    for job in await work.claim(limit=3):
        await job.retry(error="no")
    checkpoints, approvals = persistence.checkpoints, persistence.approvals
    return {
        "kv.keys": (bob.keys, other.keys),
        "kv.list": (bob.list, other.list),
        "containers": (persistence.containers.find_all_containers, images.find_all_images),
        "images by container": (
            lambda **more: images.find_images_by_container_id("bob", **more),
            lambda **more: images.find_images_by_container_id(HIDDEN, **more),
        ),
        "sessions": (
            lambda **more: sessions.find_sessions_by_container_id("bob", **more),
            lambda **more: sessions.find_sessions_by_container_id(HIDDEN, **more),
        ),
        "messages": (
            lambda **more: sessions.get_messages("bob-s0", after=1, before=6, **more),
            lambda **more: sessions.get_messages("bob-s0", after=0, before=6, **more),
        ),
        "thread messages": (
            lambda **more: threads.get_messages("bob-t0", after=1, before=6, **more),
            lambda **more: threads.get_messages("bob-t0", after=1, before=7, **more),
        ),
        "threads": (
            lambda **more: threads.list(user_id="bob", **more),
            lambda **more: threads.list(user_id=HIDDEN, **more),
        ),
        "feedback": (
            lambda **more: persistence.feedback.list(thread_id="bob-t0", user_id="bob", **more),
            lambda **more: persistence.feedback.list(thread_id="bob-t0", **more),
        ),
        "approvals": (lambda **more: approvals.list(agent_name="bob", **more), approvals.list),
        "blobs": (persistence.blobs.list, threads.list),
        "history": (state.history.list, persistence.state(dict, HIDDEN, history=5).history.list),
        "channels": (queue.channels, bob.keys),
        "dead letters": (work.dead_letters, persistence.work(HIDDEN).dead_letters),
        "checkpoints": (
            lambda **more: checkpoints.list("bob", before="bob-3", **more),
            lambda **more: checkpoints.list("bob", before="bob-2", **more),
        ),
        "checkpoints by metadata": (
            lambda **more: checkpoints.list("bob", filter={"who": "bob"}, **more),
            lambda **more: checkpoints.list("bob", **more),
        ),
        "checkpoints of all namespaces": (
            lambda **more: checkpoints.list("bob", namespace=ALL, **more),
            lambda **more: checkpoints.list(HIDDEN, namespace=ALL, **more),
        ),
        "checkpoints of all threads": (
            lambda **more: checkpoints.list(ALL, filter={"who": "bob"}, **more),
            lambda **more: checkpoints.list(ALL, filter={"who": HIDDEN}, **more),
        ),
        "history of a checkpoint": (lambda **more: checkpoints.history("bob", **more), checkpoints.threads),
        "threads of checkpoints": (checkpoints.threads, lambda **more: checkpoints.history("bob", id="bob-1", **more)),
        "namespaces": (
            lambda **more: checkpoints.namespaces("bob", **more),
            lambda **more: checkpoints.namespaces(HIDDEN, **more),
        ),
    }


@pytest.fixture
async def lists(persistence: Persistence) -> dict[str, tuple[Make, Make]]:
    return await fill(persistence)


async def test_a_cursor_leads_on_in_its_own_list_and_opens_no_other(lists: dict[str, tuple[Make, Make]]) -> None:
    for what, (make, other) in lists.items():
        everything = list(await make())
        page = await make(limit=1)
        assert page.cursor is not None, what
        assert [*page, *await make(cursor=page.cursor)] == everything, what
        for elsewhere in (other, *(pair[0] for name, pair in lists.items() if name != what)):
            with pytest.raises(InvalidCursorError, match="another query"):
                await elsewhere(limit=1, cursor=page.cursor)
        with pytest.raises(InvalidCursorError, match="damaged"):
            await make(limit=1, cursor=f"{page.cursor[:-2]}{'AA' if page.cursor[-2:] != 'AA' else 'BB'}")
        if what in ("containers", "blobs", "checkpoints of all threads", "threads of checkpoints"):
            continue  # lists of everybody's
        shown = urlsafe_b64decode(page.cursor + "=" * (-len(page.cursor) % 4))
        assert HIDDEN.encode() not in shown, what


def forged(cursor: str, position: str) -> str:
    """A cursor of the same query with another position: who reads the library's source can make it."""
    raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    cursors = Cursors([], Positions())
    cursors._mark = raw[:9]
    return cursors.write(position)


NASTY = [
    "",
    "!",
    "!@",
    "!!",
    "-1",
    "0",
    "1",
    "5",
    "6",
    "7",
    "9" * 16,
    "9" * 17,
    "9" * 5000,
    " 3",
    "1_0",
    "1e3",
    "\u0663",
]
NASTY += [
    "kv",
    "a",
    "zzz",
    "manifest",
    "images!@x",
    "!\n",
    "!@a\n",
    "\x00",
    "!@\ufffd",
    "@hidden-from-bob",
    "!@x" * 500,
]
NASTY += [f"kv!@{HIDDEN}", f"kv!@{HIDDEN}!@{HIDDEN}-1", f"images.by!container!@{HIDDEN}!9999999999999999"]


async def test_a_forged_cursor_reads_nothing_beyond_the_bounds(lists: dict[str, tuple[Make, Make]]) -> None:
    for what, (make, _) in lists.items():
        allowed = list(await make())
        page = await make(limit=1)
        assert page.cursor is not None, what
        for position in (*NASTY, *(forged(page.cursor, each) for each in NASTY)):
            try:
                found = await make(limit=20, cursor=forged(page.cursor, position))
            except InvalidCursorError:
                continue
            assert all(each in allowed for each in found), f"{what} at {position!r}"


async def test_newest_messages_stay_within_their_bounds_too(persistence: Persistence) -> None:
    await persistence.threads.create(user_id="u", agent_name="a", id="t")
    for n in range(9):
        await persistence.threads.add_message("t", "user", str(n))
    page = await persistence.threads.get_messages("t", after=2, before=6, last=1)
    assert page.cursor is not None
    with pytest.raises(InvalidCursorError):
        await persistence.threads.get_messages("t", after=2, before=6, last=9, cursor=forged(page.cursor, "8"))
    rest = await persistence.threads.get_messages("t", after=2, before=6, last=9, cursor=forged(page.cursor, "5"))
    assert [each.seq for each in rest] == [3, 4]


async def test_cursors_of_events_are_of_their_channel(persistence: Persistence) -> None:
    queue = persistence.events(prune_interval=None)
    await queue.publish("c", 1)
    for cursor in ("9" * 16, "x", "0" * 15, "-000000000000001", "\u0660" * 16, "0" * 5_000_000):
        for call in (queue.recover("c", cursor), queue.ack("me", "c", cursor), anext(queue.stream("c", after=cursor))):
            with pytest.raises(InvalidCursorError) as caught:
                await call
            assert len(str(caught.value)) < 300


@pytest.fixture(scope="module")
def numbers() -> Cursors:
    return Cursors(["q"], Numbers(3, 9))


anything = st.one_of(
    st.text(),
    st.binary().map(lambda raw: urlsafe_b64encode(raw).decode()),
    st.binary().map(lambda raw: urlsafe_b64encode(raw).decode().rstrip("=")),
    st.none(),
    st.integers(),
    st.binary(),
    st.just("A" * 5_000_000),
    st.just("[" * 100_000),
    st.just(urlsafe_b64encode(b"[" * 5000).decode()),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cursor=anything)
def test_whatever_it_holds_a_damaged_cursor_is_an_invalid_cursor(numbers: Cursors, cursor: object) -> None:
    with pytest.raises(InvalidCursorError):
        numbers.read(cursor)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.text(), at=st.integers(0, 10_000), other=st.characters(codec="utf-8"))
def test_one_changed_character_is_noticed(position: str, at: int, other: str) -> None:
    cursors = Cursors(["q"], Positions())
    cursor = cursors.write(position)
    assert cursors.read(cursor) == position
    at %= len(cursor)
    changed = f"{cursor[:at]}{other}{cursor[at + 1 :]}"
    for each in (changed, cursor + other, cursor[:at], f"{cursor[:at]}{cursor[at + 1 :]}"):
        if each != cursor:
            with pytest.raises(InvalidCursorError):
                cursors.read(each)


async def test_a_cursor_is_refused_at_the_call() -> None:
    async with create_persistence("memory://") as persistence:
        with pytest.raises(InvalidCursorError):
            persistence.kv(int, "n").keys(cursor="x")
