"""Nothing that a user typed stands in the files of an encrypted place: in no byte, no column, and no file's name."""

from __future__ import annotations

import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from limpet import Persistence, Storage, create_persistence, create_storage
from limpet.driver import Driver, Put, key, name, text
from limpet.records import ContainerRecord, ImageRecord, SessionRecord, UserMessage
from limpet.state import BaseAgentState
from limpet.structures import Lease, Log
from limpet.wrappers import encrypted, rotate
from pydantic import BaseModel

CANARY = "zanzibar"
DIGITS = "7391573915"
OLD, NEW = bytes(range(32)), bytes(range(32, 64))


def canary(what: str) -> str:
    """Text that a user typed."""
    return f"{CANARY} {DIGITS}: {what}/é"


class Note(BaseModel):
    text: str
    amount: int = int(DIGITS)


class State(BaseAgentState):
    text: str = ""


async def write_everything(persistence: Persistence, storage: Storage) -> None:
    """A canary wherever a store takes text."""
    await persistence.containers.save_container(
        ContainerRecord(container_id=canary("container"), config={canary("setting"): canary("value")})
    )
    await persistence.images.save_image(
        ImageRecord(
            image_id=canary("image"),
            container_id=canary("container"),
            session_id=canary("session"),
            name=canary("name"),
            description=canary("description"),
            system_prompt=canary("prompt"),
            parent_image_id=canary("parent"),
            mcp_servers={canary("server"): {"url": canary("url")}},
            metadata={canary("meta"): canary("data")},
        )
    )
    session = SessionRecord(session_id=canary("session"), image_id=canary("image"), container_id=canary("container"))
    await persistence.sessions.save_session(session)
    for n in range(300):
        message = UserMessage(id=canary(f"message {n}"), content=canary(f"content {n}"))
        await persistence.sessions.add_message(session.session_id, message, unique=n < 3)
    await persistence.sessions.truncate_after_message(session.session_id, 5)
    await persistence.sessions.save_session(session.model_copy(update={"session_id": canary("deleted")}))
    await persistence.sessions.add_message(canary("deleted"), UserMessage(content=canary("deleted")))
    await persistence.sessions.delete_session(canary("deleted"))
    notes = persistence.kv(Note, canary("namespace"))
    await notes.set(canary("key"), Note(text=canary("value")), ttl=3600)
    await notes.set(canary("x" * 500), Note(text=canary("long")))
    await notes.update(canary("key"), lambda note: Note(text=note.text + canary("more")), once=canary("token"))
    numbers = persistence.kv(int, canary("numbers"))
    await numbers.set("n", int(DIGITS))
    state = persistence.state(State, canary("agent"), key=canary("state"), history=3)
    for turn in ("first", "second"):
        async with state as held:
            held.text = canary(turn)
    await storage.set_item(canary("item"), {canary("field"): canary("value")}, meta={canary("meta"): DIGITS})
    await storage.set_item(":".join(canary(f"level {n}") for n in range(8)), DIGITS)
    await storage.set_item_raw(canary("raw"), canary("raw").encode())
    await structures(persistence.driver)


async def structures(driver: Driver) -> None:
    """What applications make themselves of the floor below."""
    log = Log(driver, key(name("log"), text(canary("log"))))
    await log.create()
    await log.append(canary("entry"), DIGITS, canary("bytes").encode())
    await log.append_unique(canary("unique"), canary("id"))
    await Lease(driver, key(name("leases"), text(canary("lease")))).acquire(ttl=600)
    await driver.apply([Put(key(text(canary(str(at)))), canary("plain")) for at in range(3)])
    await driver.apply([Put(key(name("counter"), name("n")), DIGITS + DIGITS)])


def spellings() -> dict[str, bytes]:
    """The canaries as they might stand somewhere, in lower case."""
    found = {}
    for word in (CANARY, DIGITS):
        found[word] = word.encode()
        found[f"{word} as UTF-16"] = word.encode("utf-16-le")
        found[f"{word} as hex"] = word.encode().hex().encode()
        for shift in range(3):  # base64 of a text, wherever it begins in a group of three bytes
            whole_groups = slice(4 if shift else 0, (shift + len(word)) // 3 * 4)
            found[f"{word} as base64, shifted by {shift}"] = b64encode(b"\0" * shift + word.encode())[
                whole_groups
            ].lower()
    return found


def traces(folder: Path) -> Iterator[str]:
    """Where a canary stands in clear."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files, "nothing was written"
    for path in files:
        for content, kind in ((path.read_bytes(), "content"), (str(path.relative_to(folder)).encode(), "name")):
            for spelling, wanted in spellings().items():
                if wanted in content.lower():
                    yield f"{spelling} in the {kind} of {path.relative_to(folder)}"
        if path.suffix == ".db":
            yield from columns(path)


def whole(folder: Path) -> bytes:
    """Every file's content."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def columns(path: Path) -> Iterator[str]:
    """The health of a database in SQL, one column after the other."""
    connection = sqlite3.connect(path)
    try:
        for (table,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    written = value if isinstance(value, bytes) else str(value).encode()
                    for spelling, wanted in spellings().items():
                        if wanted in written.lower():
                            yield f"{spelling} in a column of {table}: {written[:80]!r}"
    finally:
        connection.close()


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    text = canary("x")
    for at, written in enumerate([text.upper().encode(), text.encode("utf-16-le"), text.encode().hex().encode()]):
        (tmp_path / str(at)).write_bytes(written)
    for shift in range(3):
        (tmp_path / f"shifted {shift}").write_bytes(b64encode(b"?" * shift + text.encode() + b"??"))
    (tmp_path / CANARY).write_bytes(b"")
    found = list(traces(tmp_path))
    assert len({trace.rpartition(" of ")[2] for trace in found}) == 7, found


@pytest.mark.parametrize("scheme", ["sqlite", "fs"])
async def test_plainly_written_canaries_are_found(tmp_path: Path, scheme: str) -> None:
    url = f"sqlite:///{tmp_path}/agent.db" if scheme == "sqlite" else f"fs://{tmp_path}/agent"
    async with create_persistence(url) as persistence, create_storage(persistence.driver) as storage:
        await write_everything(persistence, storage)
    assert len(list(traces(tmp_path))) > 20


@pytest.mark.parametrize("scheme", ["sqlite", "fs"])
async def test_nothing_that_a_user_typed_can_be_read(tmp_path: Path, scheme: str) -> None:
    url = f"sqlite:///{tmp_path}/agent.db" if scheme == "sqlite" else f"fs://{tmp_path}/agent"
    async with create_persistence(url, wrappers=[encrypted(key=OLD)]) as persistence:
        async with create_storage(url, wrappers=[encrypted(key=OLD)]) as storage:
            await write_everything(persistence, storage)
        assert list(traces(tmp_path)) == [], "while it is open"
    assert list(traces(tmp_path)) == [], "closed"
    wrappers = [encrypted(key=NEW, old_keys=[OLD])]
    async with create_persistence(url, wrappers=wrappers) as persistence:
        assert (await rotate(persistence.driver)).sealed > 50
        await persistence.collect_garbage()
        assert list(traces(tmp_path)) == [], "while it is open, sealed anew"
        async with create_storage(url, wrappers=wrappers) as storage:
            assert await storage.get_item_raw(canary("raw")) == canary("raw").encode()
            assert canary("item").split(":")[0] in "".join([at async for at in storage.get_keys()])
        assert [image.name for image in await persistence.images.find_all_images()] == [canary("name")]
        messages = await persistence.sessions.get_messages(canary("session"))
        assert [message.id for message in messages] == [canary(f"message {n}") for n in range(6)]
    assert list(traces(tmp_path)) == [], "closed, sealed anew"
    for wanted in (OLD, NEW):
        assert not any(spelt in whole(tmp_path) for spelt in (wanted, wanted.hex().encode(), b64encode(wanted)))
