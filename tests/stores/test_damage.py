"""A record that was damaged, or written by another program, stops nothing else: it is named, passed, and can be deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from typing import Any

import pytest
from limpet import CorruptDataError, Persistence, create_persistence
from limpet.driver import Driver, Item, Key, MemoryDriver, Put
from limpet.driver.kit import scan_all
from limpet.stores import Retention, RetentionPolicies
from limpet.wrappers import compressed, encrypted

DAMAGED = ["{", "[1,", "", b"\xff\x00", '{"a": ' * 300, "1" * 5000, '"another program"', "null"]
"""What somebody else may have left in the place of a record."""

STACKS: dict[str, Any] = {
    "plain": [],
    "encrypted": [encrypted(key=bytes(32))],
    "compressed": [compressed(threshold=64)],
}


class Place:
    """A place, and the driver below all wrappers, where things are damaged."""

    def __init__(self, persistence: Persistence, below: MemoryDriver, stack: str) -> None:
        self.persistence, self.below, self.stack = persistence, below, stack

    async def keys(self) -> set[Key]:
        return {item.key async for item in scan_all(self.below, "")}

    async def damage(self, at: set[Key], value: str | bytes) -> None:
        for key in at:
            if self.stack == "encrypted" and not isinstance(value, bytes):
                value = value.encode()
            await self.below.apply([Put(key, value)])

    async def written_by(self, call: Awaitable[object], prefix: str) -> set[Key]:
        """The keys below a name that a call adds."""
        before = await self.keys()
        await call
        return {key for key in await self.keys() - before if key.startswith(f"{prefix}!")}


@pytest.fixture(params=STACKS)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    below = MemoryDriver()
    async with below, create_persistence(below, wrappers=STACKS[request.param]) as persistence:
        yield Place(persistence, below, request.param)


async def _image(place: Place, id: str) -> None:
    await place.persistence.images.save_image({"imageId": id, "containerId": "c", "sessionId": "s", "name": id})


@pytest.mark.parametrize("value", DAMAGED, ids=lambda value: repr(value[:9]))
async def test_a_list_names_it_and_goes_on(value: str | bytes, place: Place) -> None:
    images = place.persistence.images
    await _image(place, "first")
    bad = await place.written_by(_image(place, "bad"), "images")
    await _image(place, "last")
    await place.damage(bad, value)
    lists: list[Any] = [images.find_all_images, lambda: images.find_images_by_container_id("c")]
    for listing in lists:
        with pytest.raises(CorruptDataError):
            await listing()
        errors: list[CorruptDataError] = []
        found = await listing().skip_unreadable(errors.append)
        assert sorted(image.name for image in found) == ["first", "last"]
        assert len(errors) == 1
        assert errors[0].key is not None
        assert {image.name async for image in listing().skip_unreadable(errors.append)} == {"first", "last"}
        page = await images.find_all_images(limit=1).skip_unreadable(errors.append)
        assert len(page) == 1
    report = await images.repair()
    assert len(report.unreadable) == 1
    assert await images.find_image_by_id("first") is not None
    await images.delete_image("bad")
    assert sorted(image.name for image in await images.find_all_images()) == ["first", "last"]


@pytest.mark.parametrize("value", DAMAGED, ids=lambda value: repr(value[:9]))
async def test_it_can_be_saved_over(value: str | bytes, place: Place) -> None:
    bad = await place.written_by(_image(place, "bad"), "images")
    await place.damage(bad, value)
    await _image(place, "bad")
    assert [image.name for image in await place.persistence.images.find_all_images()] == ["bad"]


@pytest.mark.parametrize("value", DAMAGED, ids=lambda value: repr(value[:9]))
async def test_messages_go_on_around_it(value: str | bytes, place: Place) -> None:
    sessions = place.persistence.sessions
    await sessions.save_session({"sessionId": "s"})

    def say(text: str) -> Awaitable[object]:
        return sessions.add_message("s", {"subtype": "user", "content": text, "id": text})

    await say("first")
    bad = {key for key in await place.written_by(say("bad"), "messages") if key[-16:].isdecimal()}
    await say("last")
    await place.damage(bad, value)
    errors: list[CorruptDataError] = []
    if value != "null" or place.stack == "encrypted":
        with pytest.raises(CorruptDataError):
            await sessions.get_messages("s")
    found = await sessions.get_messages("s").skip_unreadable(errors.append)
    assert [message.id for message in found if message.id] == ["first", "last"]
    assert await sessions.truncate_after_message("s", "first") == 2
    assert [message.id for message in await sessions.get_messages("s")] == ["first"]


@pytest.mark.parametrize("value", DAMAGED, ids=lambda value: repr(value[:9]))
async def test_a_queue_moves_it_to_the_dead_letters(value: str | bytes, place: Place) -> None:
    work = place.persistence.work("q", max_attempts=2)
    bad = {key for key in await place.written_by(work.put("bad"), "work") if key[-16:].isdecimal()}
    await work.put("good")
    readable = place.stack != "encrypted" and value in ('"another program"', "null")
    await place.damage(bad, value)
    jobs = await work.claim(limit=5)
    assert [job.value for job in jobs if job.id != "0000000000000000"] == ["good"]
    assert len(jobs) == (2 if readable else 1)
    if not readable:
        (letter,) = await work.dead_letters()
        assert (letter.id, letter.value) == ("0000000000000000", None)
        assert letter.error
        with pytest.raises(CorruptDataError, match="delete it"):
            await work.revive(letter.id)
        assert await work.delete(letter.id)
    for job in jobs:
        await job.complete()
    assert await work.claim() == []


@pytest.mark.parametrize("value", DAMAGED, ids=lambda value: repr(value[:9]))
async def test_a_claimed_job_that_is_damaged_goes_there_too(value: str | bytes, place: Place) -> None:
    work = place.persistence.work("q", lease=timedelta(milliseconds=50), poll=0.01)
    await work.put("bad", "good")
    before = await place.keys()
    (job,) = await work.claim()
    taken = {key for key in await place.keys() - before if key.startswith("work.taken!")}
    await place.damage(taken, value)
    assert job.id == "0000000000000000"
    await asyncio.sleep(0.1)
    again = await work.claim(limit=5)
    assert [each.value for each in again] == ["good"]
    assert [letter.id for letter in await work.dead_letters()] == [job.id]


@pytest.mark.parametrize("value", DAMAGED, ids=lambda value: repr(value[:9]))
async def test_streams_pass_it_with_an_error_that_carries_the_cursor(value: str | bytes, place: Place) -> None:
    if place.stack != "encrypted" and value in ('"another program"', "null"):
        pytest.skip("an event like any other")
    queue = place.persistence.events(prune_interval=None, poll=0.05)
    await queue.publish("c", "first")
    bad = {key for key in await place.written_by(queue.publish("c", "bad"), "events") if key[-16:].isdecimal()}
    await queue.publish("c", "last")
    await place.damage(bad, value)
    page = await queue.recover("c")
    assert [event.event for event in page.events] == ["first"]
    assert page.has_more
    with pytest.raises(CorruptDataError) as caught:
        await queue.recover("c", page.events[-1].cursor)
    assert caught.value.cursor == "0000000000000001"
    assert [event.event for event in (await queue.recover("c", caught.value.cursor)).events] == ["last"]

    seen: list[Any] = []
    stream = queue.stream("c")
    seen.append((await anext(stream)).event)
    with pytest.raises(CorruptDataError) as caught:
        await anext(stream)
    seen.append((await anext(queue.stream("c", after=caught.value.cursor))).event)
    assert seen == ["first", "last"]

    heard: asyncio.Queue[Any] = asyncio.Queue()
    unsubscribe = await queue.subscribe("c", lambda event: heard.put_nowait(event.event), after="")
    async with asyncio.timeout(5):
        assert [await heard.get(), await heard.get()] == ["first", "last"]
    await unsubscribe()
    await queue.aclose()


@pytest.mark.parametrize("value", DAMAGED, ids=lambda value: repr(value[:9]))
async def test_upkeep_goes_on(value: str | bytes, place: Place) -> None:
    persistence = place.persistence

    def suspend(id: str) -> Awaitable[object]:
        told: Any = {"thread_id": "t", "agent_name": "a", "node_name": "n"}
        return persistence.approvals.create(id=id, state=1, ttl=0.05, **told)

    await persistence.threads.create(id="t", user_id="u", agent_name="a")
    await place.damage(await place.written_by(suspend("bad"), "approvals"), value)
    await suspend("good")
    rate = persistence.feedback.create("t", rating=1)
    await place.damage(await place.written_by(rate, "feedback"), value)
    await persistence.feedback.create("t", rating=2)
    kv = persistence.kv(dict, "n")
    await place.damage(await place.written_by(kv.set("bad", {}), "kv"), value)
    await kv.set("good", {})
    errors: list[CorruptDataError] = []
    assert [key for key, _ in await kv.list().skip_unreadable(errors.append) if key != "bad"] == ["good"]
    await asyncio.sleep(0.1)
    assert await persistence.approvals.list(thread_id="t").skip_unreadable(errors.append) == []
    assert [each.rating for each in await persistence.feedback.list(thread_id="t").skip_unreadable(errors.append)] == [
        2
    ]
    assert await persistence.approvals.prune(max_age=1) == 0
    await persistence.collect_garbage()
    await persistence.prune(RetentionPolicies(kv={"n": Retention(max_count=1)}))
    assert await persistence.approvals.delete("bad") or value == "null"
    assert await persistence.threads.delete("t")
    assert await persistence.approvals.list() == []
    await persistence.collect_garbage()
    await kv.delete("bad")
    left = {key for key in await place.keys() if key.startswith(("approvals!", "feedback!", "threads!"))}
    assert left == set()


async def test_one_item_that_cannot_be_opened_takes_no_page_with_it() -> None:
    async with MemoryDriver() as below, create_persistence(below, wrappers=STACKS["encrypted"]) as persistence:
        store = persistence.kv(int, "n")
        for n in range(40):
            await store.set(str(n), n)
        items: list[Item] = [item async for item in scan_all(below, "kv")]
        for item in items[::4]:
            await below.apply([Put(item.key, b"\0" * 60)])
        errors: list[CorruptDataError] = []
        found = await store.list().skip_unreadable(errors.append)
        assert (len(found), len(errors)) == (30, 10)
        assert {error.key for error in errors} == {item.key for item in items[::4]}
        listing, seen = store.list(limit=7).skip_unreadable(errors.append), list[Any]()
        while True:
            page = await listing
            seen += page
            if page.cursor is None:
                break
            listing = store.list(limit=7, cursor=page.cursor).skip_unreadable(errors.append)
        assert sorted(seen) == sorted(found)
        driver: Driver = persistence.driver
        assert driver.is_open


@pytest.mark.parametrize("value", DAMAGED, ids=lambda value: repr(value[:9]))
async def test_checkpoints_go_on_around_it(value: str | bytes, place: Place) -> None:
    checkpoints = place.persistence.checkpoints
    await checkpoints.put("t", {"n": 1}, id="first")
    added = await place.written_by(checkpoints.put("t", {"n": 2}, id="bad"), "checkpoints")
    await checkpoints.put("t", {"n": 3}, id="last")
    await place.damage({key for key in added if key.split("!")[2] == "d"}, value)
    errors: list[CorruptDataError] = []
    found = await checkpoints.list("t").skip_unreadable(errors.append)
    assert [each.id for each in found] == ["last", "first"]
    assert len(errors) == 1
    assert (await checkpoints.get("t")).id == "last"  # type: ignore[union-attr]
    await checkpoints.prune("t", max_count=1)
    assert await checkpoints.delete("t")
    assert await checkpoints.list("t") == []
