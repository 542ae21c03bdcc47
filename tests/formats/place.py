"""A place with something of everything that Limpet keeps: how it is written, and what has to be read from it.

The fixtures beside this file were written by it, each by the release of its format. To write those of the current format:
`python tests/formats/place.py`. Never write again what a release has written: a new format is a new folder.
"""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from limpet import Persistence, create_persistence, create_storage
from limpet.driver import Put, key, name, text
from limpet.opening import FORMAT
from limpet.stores import NewEntry
from limpet.wrappers import compressed, encrypted
from pydantic import BaseModel

HERE = Path(__file__).parent
CENTURY = timedelta(days=36500)
KEY = "07" * 32
LOOKS_LIKE_A_POINTER = "#limpet-out-of-line {}"
BYTES = bytes(range(256)) * 8
LONG = "a long text, stored once, that two checkpoints have in common. " * 10


class Profile(BaseModel):
    plan: str
    seats: int = 1


PLACES: Mapping[str, tuple[str, list[Any]]] = {
    "sqlite": ("sqlite:///{folder}/place.db", []),
    "fs": ("fs://{folder}/place", []),
    "encrypted": ("sqlite:///{folder}/encrypted.db", [compressed(), encrypted(key=KEY)]),
}
"""URLs, and what stands around the driver."""


async def write(url: str, wrappers: list[Any]) -> None:
    async with create_persistence(url, wrappers=wrappers) as persistence:
        await fill(persistence)


async def fill(persistence: Persistence) -> None:
    """Store something of everything."""
    await _conversations(persistence)
    await _graphs(persistence)
    await _queues(persistence)
    await _records(persistence)
    raw = key(name("app"), text("raw"))
    await persistence.driver.apply([Put(raw, LOOKS_LIKE_A_POINTER)])
    async with create_storage(persistence.driver) as storage:
        await storage.set_item("users:alice", {"plan": "pro"})
        await storage.set_item("users:bob", 1, meta={"by": "me"})
        await storage.set_item_raw("picture", BYTES)
        await storage.set_item("x" * 300, "a long key")


async def _conversations(persistence: Persistence) -> None:
    await persistence.containers.save_container(
        {"containerId": "c1", "config": {"a": 1}, "createdAt": 1, "updatedAt": 1}
    )
    image = {"imageId": "i1", "containerId": "c1", "sessionId": "s1", "name": "My Cat", "createdAt": 2, "updatedAt": 2}
    await persistence.images.save_image(image)
    await persistence.sessions.save_session({"sessionId": "s1", "imageId": "i1", "createdAt": 3, "updatedAt": 3})
    for n, message in enumerate(MESSAGES):
        await persistence.sessions.add_message("s1", {"id": f"m{n}", "timestamp": n, **message}, unique=n == 0)
    await persistence.sessions.fork("s1", at="m1", id="s2")
    await persistence.threads.create(id="t1", user_id="ada", agent_name="helper", title="A thread", metadata={"a": [1]})
    for n in range(4):
        await persistence.threads.add_message("t1", "user", f"message {n}", id=f"n{n}")
    await persistence.threads.delete_message("t1", "n1")
    await persistence.threads.fork("t1", at="n2", id="t2")
    await persistence.feedback.create("t1", rating=4, comment="good", message_id="n2", id="f1")
    suspended: dict[str, Any] = {"thread_id": "t1", "agent_name": "helper", "node_name": "pay", "state": {"sum": 5}}
    await persistence.approvals.create(**suspended, id="a1", ttl=CENTURY)
    await persistence.approvals.create(**suspended, id="a2", ttl=CENTURY)
    async with await persistence.approvals.claim("a2", by="ada", decision="approve", reason="fine"):
        pass


MESSAGES: list[dict[str, Any]] = [
    {"subtype": "user", "content": "Hi"},
    {"subtype": "assistant", "content": [{"type": "text", "text": "Hello"}], "usage": {"tokens": 3}},
    {"subtype": "tool-call", "toolCall": {"id": "1", "name": "look", "input": {}}},
    {"subtype": "tool-result", "toolCallId": "1", "toolResult": {"id": "1", "output": [1.5, None]}},
    {"subtype": "something-new", "fieldOfTheirs": "kept"},
]


async def _graphs(persistence: Persistence) -> None:
    await persistence.checkpoints.put(
        "t1", {"step": 0, "long": LONG, "bytes": BYTES}, id="k0", metadata={"source": "input"}
    )
    await persistence.checkpoints.put("t1", {"step": 1, "long": LONG}, id="k1", parent_id="k0")
    await persistence.checkpoints.put_writes("t1", "k1", "task", [("channel", {"n": 1}), ("other", BYTES)])


async def _queues(persistence: Persistence) -> None:
    async with persistence.events(consumer_ttl=CENTURY, retention=None, prune_interval=None) as queue:
        cursors = [await queue.publish("news", {"n": n}) for n in range(3)]
        await queue.ack("reader", "news", cursors[0])
    work = persistence.work("mail", lease=CENTURY, max_attempts=1)
    await work.put({"to": "ada"}, {"to": "bob"}, {"to": "cy"})
    dead, _claimed = await work.claim(limit=2)
    await dead.retry(error="refused")


async def _records(persistence: Persistence) -> None:
    profiles = persistence.kv(Profile, "profiles")
    await profiles.set("ada", Profile(plan="pro", seats=2))
    await profiles.update("bob", Profile(plan="free"), default=Profile(plan=""))
    await profiles.touch("bob", ttl=CENTURY)
    await profiles.update("bob", Profile(plan="free", seats=3))
    await persistence.kv_tree(Profile).write([NewEntry(("teams", LONG), "cy", Profile(plan="team"))])
    state = persistence.state(dict, "counter", history=3)
    for n in range(2):
        async with state as value:
            value["n"] = n
    await persistence.blobs.create(
        BYTES, id="b1", name="bytes.bin", content_type="application/octet-stream", metadata={"a": 1}
    )


async def check(url: str, wrappers: list[Any]) -> None:
    """Everything is there, and can be read."""
    async with create_persistence(url, wrappers=wrappers) as persistence:
        await check_contents(persistence)


async def check_contents(persistence: Persistence) -> None:
    """Everything that `fill` stored is there, and can be read."""
    await _check_conversations(persistence)
    await _check_rest(persistence)
    in_order = persistence.driver.capabilities.text_order
    async with create_storage(persistence.driver) as storage:
        keys = [each async for each in storage.get_keys()]
        assert (keys if in_order else sorted(keys)) == ["picture", "users:alice", "users:bob", "x" * 300]
        assert await storage.get_item("users:alice") == {"plan": "pro"}
        meta = await storage.get_meta("users:bob")
        assert meta is not None
        assert meta.data == {"by": "me"}
        assert await storage.get_item_raw("picture") == BYTES
        assert await storage.get_item("x" * 300) == "a long key"


async def _check_conversations(persistence: Persistence) -> None:
    container = await persistence.containers.find_container_by_id("c1")
    assert container is not None
    assert container.config == {"a": 1}
    assert [image.image_id for image in await persistence.images.find_images_by_name("My Cat")] == ["i1"]
    assert [session.session_id for session in await persistence.sessions.find_all_sessions()] == ["s2", "s1"]
    messages = await persistence.sessions.get_messages("s1")
    assert [message.id for message in messages] == [f"m{n}" for n in range(len(MESSAGES))]
    assert [message.subtype for message in messages] == [message["subtype"] for message in MESSAGES]
    assert messages[-1].model_dump(by_alias=True)["fieldOfTheirs"] == "kept"
    assert [message.id for message in await persistence.sessions.get_messages("s2")] == ["m0", "m1"]
    assert (await persistence.sessions.lineage("s2")).ancestors == ("s1",)
    thread = await persistence.threads.get("t1")
    assert thread is not None
    assert (thread.title, thread.metadata, thread.message_count) == ("A thread", {"a": [1]}, 3)
    assert [message.id for message in await persistence.threads.get_messages("t1")] == ["n0", "n2", "n3"]
    assert [message.content for message in await persistence.threads.get_messages("t2")] == ["message 0", "message 2"]
    feedback = await persistence.feedback.get("f1")
    assert feedback is not None
    assert (feedback.rating, feedback.user_id) == (4, "ada")
    assert [each.id for each in await persistence.approvals.list()] == ["a1"]
    (decided,) = await persistence.approvals.list(decided=True)
    assert decided.claim is not None
    assert (decided.id, decided.status, decided.claim.by, decided.state) == ("a2", "decided", "ada", {"sum": 5})


async def _check_rest(persistence: Persistence) -> None:
    latest, first = await persistence.checkpoints.list("t1")
    assert (latest.id, latest.parent_id, latest.checkpoint) == ("k1", "k0", {"step": 1, "long": LONG})
    assert [(each.channel, each.value) for each in latest.writes] == [("channel", {"n": 1}), ("other", BYTES)]
    assert (first.checkpoint, first.metadata) == ({"step": 0, "long": LONG, "bytes": BYTES}, {"source": "input"})
    async with persistence.events(retention=None, prune_interval=None) as queue:
        recovered = await queue.recover("news", await queue.get_cursor("reader", "news"))
        assert [each.event for each in recovered.events] == [{"n": 1}, {"n": 2}]
    work = persistence.work("mail", lease=CENTURY, max_attempts=1)
    assert (await work.depth(), await work.claimed()) == (1, 1)
    (letter,) = await work.dead_letters()
    assert (letter.value, letter.error) == ({"to": "ada"}, "refused")
    assert await persistence.kv(Profile, "profiles").get("ada") == Profile(plan="pro", seats=2)
    renewed = await persistence.kv(Profile, "profiles").get_entry("bob")
    assert renewed is not None
    assert (renewed.value, renewed.ttl is None) == (Profile(plan="free", seats=3), False)
    assert renewed.created_at <= renewed.updated_at
    tree = persistence.kv_tree(Profile)
    assert await tree.namespaces() == [("teams", LONG)]
    assert [(entry.key, entry.value) for entry in await tree.entries()] == [("cy", Profile(plan="team"))]
    state = persistence.state(dict, "counter", history=3)
    assert await state.get_state() == {"n": 1}
    assert [revision.state for revision in await state.history.list()] == [{"n": 1}, {"n": 0}]
    blob = await persistence.blobs.get("b1")
    assert blob is not None
    assert (blob.name, blob.size, blob.metadata) == ("bytes.bin", len(BYTES), {"a": 1})
    assert b"".join([piece async for piece in persistence.blobs.read("b1")]) == BYTES
    (raw,) = await persistence.driver.get([key(name("app"), text("raw"))])
    assert raw is not None
    assert raw.value == LOOKS_LIKE_A_POINTER


def pack(kind: str, archive: Path) -> None:
    """Write a place of the current format into an archive. An archive keeps the times of files, which git does not."""
    url, wrappers = PLACES[kind]
    with TemporaryDirectory() as folder:
        asyncio.run(write(url.format(folder=folder), wrappers))
        with tarfile.open(archive, "w:gz") as packed:
            for found in sorted(Path(folder).iterdir()):
                if "-lock" not in found.name:
                    packed.add(found, found.name)


def unpack(archive: Path, folder: Path) -> None:
    """Lay the place out in a folder, as it was written."""
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")


if __name__ == "__main__":
    (HERE / str(FORMAT)).mkdir(exist_ok=True)
    for each in PLACES:
        pack(each, HERE / str(FORMAT) / f"{each}.tar.gz")
