"""Values beyond 1 MiB: everywhere, whole, without a call more for those that are small."""

from __future__ import annotations

import asyncio
import json
import os
from base64 import b64encode
from contextlib import aclosing
from functools import partial

import pytest
from limpet import ConflictError, CorruptDataError, Persistence, Storage, TooLargeError
from limpet.driver import KEEP, Append, Check, Delete, If, Put, Range, key, name, text
from limpet.driver.kit import scan_all
from limpet.records import UserMessage
from limpet.structures import MAX_VALUE_BYTES, Log, OutOfLine, collect_chunks

MIB = 1024 * 1024
PICTURE = b64encode(os.urandom(3 * MIB)).decode()
LONG = json.dumps({"picture": PICTURE, "after": "it"})


def out_of_line(persistence: Persistence) -> OutOfLine:
    assert isinstance(persistence.driver, OutOfLine)
    return persistence.driver


async def stored(driver: OutOfLine) -> int:
    return sum([item.key.endswith("!bytes") async for item in scan_all(driver.inner, "chunk", values=False)])


async def swept(driver: OutOfLine) -> int:
    """What two passes free, a day after the last change."""
    await asyncio.sleep(0.005)
    await collect_chunks(driver.inner, grace_ms=0)
    await asyncio.sleep(0.005)
    return await collect_chunks(driver.inner, grace_ms=0)


async def test_long_text_and_bytes_come_back_by_get_and_scan(persistence: Persistence) -> None:
    driver = out_of_line(persistence)
    raw = os.urandom(2 * MIB)
    await driver.apply([Put("kv!@text", LONG), Put("kv!@bytes", raw), Put("kv!@short", "x")])
    text, data, short = await driver.get(["kv!@text", "kv!@bytes", "kv!@short"])
    assert text is not None
    assert data is not None
    assert short is not None
    assert (text.value, data.value, short.value) == (LONG, raw, "x")
    page = await driver.scan(Range("kv"))
    assert {item.key: item.value for item in page.items} == {"kv!@text": LONG, "kv!@bytes": raw, "kv!@short": "x"}
    page = await driver.scan(Range("kv", values=False))
    assert [item.value for item in page.items] == [None] * 3


async def test_etags_conditions_and_expiry_are_as_ever(persistence: Persistence) -> None:
    driver = out_of_line(persistence)
    first = Put("kv!@a", LONG, If.ABSENT, 60_000)
    await driver.apply([first])
    (item,) = await driver.get(["kv!@a"])
    assert item is not None
    assert item.etag == first.etag
    assert item.ttl_ms is not None
    with pytest.raises(ConflictError) as caught:
        await driver.apply([Put("kv!@a", "y", If.ABSENT), Put("kv!@b", LONG)])
    assert caught.value.keys == ("kv!@a",)
    assert not any("limpet-out-of-line" in str(each and each.value) for each in caught.value.items.values())
    assert await driver.get(["kv!@b"]) == [None]
    await driver.apply([Put("kv!@a", LONG + "2", first.etag, KEEP)])
    (item,) = await driver.get(["kv!@a"])
    assert item is not None
    assert item.value == LONG + "2"
    assert item.ttl_ms is not None


async def test_appends_and_many_units(persistence: Persistence) -> None:
    driver = out_of_line(persistence)
    head = Put("log", "")
    await driver.apply([head, Put("log!n", "0")])
    check = Check("log", head.etag)
    assert await driver.append("log!n", [Put("log!e", "x"), Put("log!e", LONG)], check) == 0
    answers = await driver.commit(
        [[Put("kv!@a", LONG)], Append("log!n", (Put("log!e", LONG + "2"),), check), [Put("kv!@b", "x", If.PRESENT)]]
    )
    assert answers[:2] == [None, 2]
    assert isinstance(answers[2], ConflictError)
    page = await driver.scan(Range("log!e"))
    assert [item.value for item in page.items] == ["x", LONG, LONG + "2"]
    assert await swept(driver) == 0, "each of them is named"
    await driver.apply([Delete(f"log!e!{1:016}")])
    assert await swept(driver) > 0
    assert (await driver.scan(Range("log!e"))).items[-1].value == LONG + "2"


async def test_a_picture_is_stored_once_in_however_many_messages(persistence: Persistence) -> None:
    await persistence.sessions.save_session({"sessionId": "s"})
    driver = out_of_line(persistence)
    contents = [[{"type": "image", "data": PICTURE, "n": n}] for n in range(3)]
    for content in contents[:2]:
        await persistence.sessions.add_message("s", UserMessage(content=content))
    before = await stored(driver)
    await persistence.sessions.add_message("s", UserMessage(content=contents[2]))
    assert await stored(driver) <= before + 2, "only what stands around it"
    messages = await persistence.sessions.get_messages("s", last=2)
    assert [message.model_dump()["content"] for message in messages] == contents[1:]


async def test_what_is_replaced_or_deleted_is_freed_a_day_later(persistence: Persistence) -> None:
    driver = out_of_line(persistence)
    await driver.apply([Put("kv!@a", LONG)])
    await driver.apply([Put("kv!@b", LONG[::-1])])
    await driver.apply([Put("kv!@a", "short now")])
    await driver.apply([Delete("kv!@b")])
    assert await persistence.collect_garbage() == 0
    assert await stored(driver) > 0
    assert await swept(driver) > 0
    assert await stored(driver) == 0
    (item,) = await driver.get(["kv!@a"])
    assert item is not None
    assert item.value == "short now"


async def test_what_only_looks_like_a_pointer_comes_back_as_it_is(persistence: Persistence) -> None:
    driver = out_of_line(persistence)
    look_alike = '#limpet-out-of-line {"owner":"nobody","text":true}'
    await driver.apply([Put("kv!@a", look_alike)])
    (item,) = await driver.get(["kv!@a"])
    assert item is not None
    assert item.value == look_alike


async def test_too_much_is_refused_before_anything_is_written(persistence: Persistence) -> None:
    driver = out_of_line(persistence)
    with pytest.raises(TooLargeError):
        await driver.apply([Put("kv!@a", b"x" * (MAX_VALUE_BYTES + 1))])
    assert not (await driver.inner.scan(Range("chunk.owners"))).items


async def test_a_page_of_long_values_ends_early_and_goes_on(persistence: Persistence) -> None:
    driver = out_of_line(persistence)
    for n in range(5):
        await driver.apply([Put(f"kv!@{n}", LONG + str(n))])
    seen: list[str] = []
    after = None
    pages = 0
    while True:
        page = await driver.scan(Range("kv", after=after))
        pages += 1
        seen += [str(item.value)[-1] for item in page.items]
        after = page.next
        if after is None:
            break
    assert sorted(seen) == ["0", "1", "2", "3", "4"]
    assert pages > 1


async def test_a_log_of_long_entries_is_gone_through_part_by_part(persistence: Persistence) -> None:
    await persistence.threads.create(id="t", user_id="u", agent_name="a")
    for n in range(5):
        await persistence.threads.add_message("t", "user", PICTURE, id=f"m{n}")
    log = Log(persistence.driver, key(name("threads.messages"), text("t")))
    for reverse in (False, True):
        entries, more = await log.read_part(limit=200, reverse=reverse)
        assert 0 < len(entries) < 5, "five would be 20 MiB"
        assert more
    assert [message.seq async for message in persistence.threads.get_messages("t")] == [0, 1, 2, 3, 4]
    page = await persistence.threads.get_messages("t", limit=5)
    assert ([message.seq for message in page], page.cursor) == ([0, 1, 2, 3, 4], None)
    newest = await persistence.threads.get_messages("t", last=4)
    before = await persistence.threads.get_messages("t", last=4, cursor=newest.cursor)
    assert ([message.seq for message in newest], [message.seq for message in before]) == ([1, 2, 3, 4], [0])
    assert await persistence.threads.truncate_after_message("t", "m0") == 4
    async with persistence.events() as queue:
        for _ in range(3):
            await queue.publish("c", PICTURE)
        heard = []
        async with asyncio.timeout(20), aclosing(queue.stream("c")) as events:
            async for event in events:
                heard.append(event.cursor)
                if len(heard) == 2:
                    await queue.publish("c", "the last one")
                if event.event == "the last one":
                    break
        assert len(heard) == 4


async def test_states_and_plain_items_too(persistence: Persistence, storage: Storage) -> None:
    async with persistence.state(dict, "big") as state:
        state["picture"] = PICTURE
    assert await persistence.state(dict, "big").get_state() == {"picture": PICTURE}
    await storage.set_item("picture", PICTURE)
    assert await storage.get_item("picture") == PICTURE
    await persistence.approvals.create(id="a", thread_id="t", agent_name="g", node_name="n", state={"picture": PICTURE})
    approval = await persistence.approvals.get("a")
    assert approval is not None
    assert approval.state == {"picture": PICTURE}


async def test_a_value_that_ends_early_is_an_error_and_never_a_shorter_value(persistence: Persistence) -> None:
    driver = out_of_line(persistence)
    await driver.apply([Put("kv!@long", LONG)])
    *_, last = [item.key async for item in scan_all(driver.inner, "chunk.parts", values=False)]
    await driver.inner.apply([Delete(last)])
    with pytest.raises(CorruptDataError, match="where it claims to have"):
        await driver.get(["kv!@long"])


async def test_garbage_collection_frees_what_is_gone_and_nothing_else(
    persistence: Persistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = partial(collect_chunks, grace_ms=-60_000)
    monkeypatch.setattr("limpet.structures._garbage_collection.collect_chunks", at_once)
    store = persistence.kv(str, "long")
    await store.set("kept", "k" * 3_000_000)
    await store.set("gone", "g" * 3_000_000)
    blob = await persistence.blobs.create(b"b" * 3_000_000)
    await persistence.sessions.add_message("s", {"subtype": "user", "content": "m" * 3_000_000}, create=True)
    assert [await persistence.collect_garbage() for _ in range(3)] == [0, 0, 0]
    await store.delete("gone")
    assert await persistence.collect_garbage() == 0, "it is marked first"
    assert await persistence.collect_garbage() > 0
    assert await persistence.collect_garbage() == 0
    assert await store.get("kept") == "k" * 3_000_000
    assert await persistence.blobs.read_bytes(blob.id) == b"b" * 3_000_000
    (message,) = await persistence.sessions.get_messages("s")
    assert message.model_dump()["content"] == "m" * 3_000_000
