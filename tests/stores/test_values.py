"""What users give comes back equal, or is refused before it is written: in every store, by one function."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from time import perf_counter
from typing import Any

import pytest
from limpet import (
    InvalidValueError,
    Persistence,
    Storage,
    TooLargeError,
    create_persistence,
    create_storage,
)
from limpet._json import MAX_DEPTH, check_plain
from limpet.records import Message, UserMessage
from pydantic import BaseModel, Field, PrivateAttr, SecretStr
from pydantic_core import from_json, to_json


class Step(BaseModel):
    name: str


class HumanStep(Step):
    call_id: str


class State(BaseModel):
    key: SecretStr = SecretStr("")
    steps: list[Step] = []
    scores: dict[Any, Any] = {}
    anything: Any = None
    cache: Any = Field(default=None, exclude=True)
    _private: int = PrivateAttr(default=0)


class Color(StrEnum):
    RED = "red"


class Plain(Enum):
    RED = "red"


def nested(depth: int, kind: type = list) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


@dataclass
class Place:
    """Every way in which a value comes into a store, and how it is read again."""

    persistence: Persistence
    storage: Storage

    async def item(self, value: Any) -> Any:
        await self.storage.set_item("k", value)
        return await self.storage.get_item("k")

    async def items(self, value: Any) -> Any:
        await self.storage.set_items({"k": value})
        return (await self.storage.get_items(["k"]))["k"]

    async def meta(self, value: Any) -> Any:
        await self.storage.set_item("m", 1)
        await self.storage.set_meta("m", {"x": value})
        meta = await self.storage.get_meta("m")
        assert meta is not None
        return meta.data["x"]

    async def kv(self, value: Any) -> Any:
        store = self.persistence.kv(dict, "n")
        await store.set("k", {"x": value})
        found = await store.get("k")
        assert found is not None
        return found["x"]

    async def kv_of_anything(self, value: Any) -> Any:
        store = self.persistence.kv(object, "o")
        await store.set("k", value)
        return await store.get("k")

    async def model(self, value: Any) -> Any:
        store = self.persistence.kv(State, "s")
        await store.set("k", State(anything=value))
        found = await store.get("k")
        assert found is not None
        return found.anything

    async def state(self, value: Any) -> Any:
        state = self.persistence.state(dict, "agent", factory=dict)
        async with state as held:
            held["x"] = value
        return (await state.get_state())["x"]

    async def part(self, value: Any) -> Any:
        return await self._message({"subtype": "user", "content": [value]}, lambda message: message.content[0])

    async def extra(self, value: Any) -> Any:
        return await self._message({"subtype": "user", "content": "", "extra": value}, lambda message: message.extra)

    async def made(self, value: Any) -> Any:
        return await self._message(
            UserMessage.model_validate({"content": "", "extra": {"x": value}}), lambda message: message.extra["x"]
        )

    async def tool(self, value: Any) -> Any:
        told = {"subtype": "tool-result", "toolResult": {"output": value}}
        return await self._message(told, lambda message: message.tool_result["output"])

    async def other(self, value: Any) -> Any:
        return await self._message({"subtype": "ours", "x": value}, lambda message: message.x)

    async def _message(self, message: Message | dict[str, Any], part: Callable[[Any], Any]) -> Any:
        sessions = self.persistence.sessions
        await sessions.save_session({"sessionId": "s"})
        added = await sessions.add_message("s", message)
        read = (await sessions.get_messages("s"))[-1]
        assert read == added or value_is_nan(part(read)), "what add_message returns is what is stored"
        return part(read)

    async def thread_content(self, value: Any) -> Any:
        return await self._in_thread(lambda message: message.content, "user", value)

    async def thread_extra(self, value: Any) -> Any:
        return await self._in_thread(lambda message: message.x, "user", "", x=value)

    async def _in_thread(self, part: Callable[[Any], Any], *given: Any, **more: Any) -> Any:
        threads = self.persistence.threads
        await threads.create(id="t", user_id="u", agent_name="a", exist_ok=True)
        added = await threads.add_message("t", *given, **more)
        read = (await threads.get_messages("t"))[-1]
        assert read == added or value_is_nan(part(read))
        return part(read)

    async def thread(self, value: Any) -> Any:
        made = await self.persistence.threads.create(user_id="u", agent_name="a", metadata={"x": value})
        found = await self.persistence.threads.get(made.id)
        assert found is not None
        return found.metadata["x"]

    async def image(self, value: Any) -> Any:
        told = {"imageId": "i", "containerId": "c", "sessionId": "s", "metadata": {"x": value}}
        await self.persistence.images.save_image(told)
        (found,) = await self.persistence.images.find_all_images()
        assert found.metadata is not None
        return found.metadata["x"]

    async def image_extra(self, value: Any) -> Any:
        await self.persistence.images.save_image({"imageId": "e", "containerId": "c", "sessionId": "s", "x": value})
        return (await self.persistence.images.find_image_by_id("e")).x  # type: ignore[union-attr]

    async def container(self, value: Any) -> Any:
        await self.persistence.containers.save_container({"containerId": "c", "config": {"x": value}})
        (found,) = await self.persistence.containers.find_all_containers()
        assert found.config is not None
        return found.config["x"]

    async def approval(self, value: Any) -> Any:
        made = await self.persistence.approvals.create(thread_id="t", agent_name="a", node_name="n", state={"x": value})
        found = await self.persistence.approvals.get(made.id)
        assert found is not None
        return found.state["x"]

    async def event(self, value: Any) -> Any:
        queue = self.persistence.events(prune_interval=None)
        await queue.publish("c", value)
        found = (await queue.recover("c")).events[-1].event
        await queue.aclose()
        return found

    async def job(self, value: Any) -> Any:
        work = self.persistence.work("q")
        await work.put(value)
        (job,) = await work.claim()
        await job.retry(delay=0)
        (again,) = await work.claim()
        assert again.value == job.value or value_is_nan(value)
        await again.complete()
        return again.value

    async def checkpoint(self, value: Any) -> Any:
        await self.persistence.checkpoints.put("t", {"x": value}, metadata={"y": 1})
        found = await self.persistence.checkpoints.get("t")
        assert found is not None
        return found.checkpoint["x"]

    async def checkpoint_metadata(self, value: Any) -> Any:
        await self.persistence.checkpoints.put("t", 1, metadata={"x": value})
        found = await self.persistence.checkpoints.get("t")
        assert found is not None
        return found.metadata["x"]

    async def pending_write(self, value: Any) -> Any:
        id = await self.persistence.checkpoints.put("t", 1)
        await self.persistence.checkpoints.put_writes("t", id, "task", [("channel", value)])
        found = await self.persistence.checkpoints.get("t")
        assert found is not None
        return found.writes[0].value


WAYS = [name for name in vars(Place) if not name.startswith("_") and callable(getattr(Place, name))]
CONVERTING = {"part", "tool", "thread_content", "thread", "image", "container", "approval", "event", "job"}
"""Where models, dates and tuples become the JSON that says the same, and are returned as that."""


TYPED = {"kv", "kv_of_anything", "model", "state"}


def value_is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


@pytest.fixture
async def place() -> Any:
    async with create_persistence("memory://") as persistence, create_storage("memory://") as storage:
        yield Place(persistence, storage)


KEPT: list[Any] = [
    None,
    True,
    0,
    -(10**4299),
    10**4300 - 1,
    1.5,
    float("inf"),
    "",
    "\x00 \u2028 🪸",
    [],
    {},
    [1, [2, {"a": None}]],
    {"1": "text"},
    nested(MAX_DEPTH - 4),
    nested(MAX_DEPTH - 4, dict),
    [{"a": 1}] * 500,
    Color.RED,
    "1" * 10_000,
    [[[[]]] * 300, "[" * 1000],
]


@pytest.mark.parametrize("way", WAYS)
async def test_plain_json_comes_back_equal(way: str, place: Place) -> None:
    for value in KEPT:
        if way in TYPED and (value is None or value == float("inf")):
            continue  # pydantic's JSON has null for both: what comes back as another is refused
        found = await getattr(place, way)(value)
        assert found == value
        assert type(found) is type(value) or isinstance(value, Enum)


@pytest.mark.parametrize("way", WAYS)
async def test_what_would_not_come_back_equal_is_refused(way: str, place: Place) -> None:
    refused: dict[str, Any] = {
        "secret": SecretStr("sk-123"),
        "keys": {1: "int", "1": "text"},
        "a key": {"a": [{None: 1}]},
        "bytes": [b"abc"],
        "bytearray": bytearray(b"abc"),
        "decimal": Decimal("1.10"),
        "set": {1},
        "complex": 1j,
        "object": object(),
        "type": int,
        "a model with a secret": State(key=SecretStr("sk-123")),
        "generator": (n for n in range(3)),
        "surrogate": "\ud800",
        "digits": 10**4300,
        "more digits": [-(10**9000)],
        **{f"depth {depth}": nested(depth) for depth in (MAX_DEPTH + 1, 201, 250, 900, 5000)},
        **{f"depth {depth} of dicts": nested(depth, dict) for depth in (MAX_DEPTH + 1, 201, 250, 900, 5000)},
    }
    loop: list[Any] = []
    loop.append(loop)
    refused["itself"] = loop
    if way in ("checkpoint", "pending_write", "checkpoint_metadata"):
        refused["bytes"] = bytearray(b"abc")  # bytes are kept there
    if way in TYPED:  # these are read back before they are stored, so what the reader takes is taken
        refused = {what: value for what, value in refused.items() if str(MAX_DEPTH + 1) not in what}
    for what, value in refused.items():
        with pytest.raises(InvalidValueError):
            print(what, await getattr(place, way)(value))
    assert await getattr(place, way)("fine") == "fine", "and nothing of it is in the way of others"


@pytest.mark.parametrize("way", WAYS)
async def test_models_dates_and_tuples_are_converted_in_sight_or_refused(way: str, place: Place) -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    values: dict[Any, Any] = {
        "model": (HumanStep(name="a", call_id="b"), {"name": "a", "call_id": "b"}),
        "models": ([State(steps=[HumanStep(name="a", call_id="b")]).model_copy(update={"key": None})], None),
        "date": (date(2026, 1, 2), "2026-01-02"),
        "datetime": ({"at": moment}, {"at": "2026-01-02T00:00:00Z"}),
        "tuple": ([(1, 2)], [[1, 2]]),
        "enum": ([Plain.RED], ["red"]),
    }
    for value, becomes in values.values():
        if way in CONVERTING:
            found = await getattr(place, way)(value)
            assert found == becomes or (becomes is None and found[0]["steps"] == [{"name": "a", "call_id": "b"}])
        else:
            with pytest.raises(InvalidValueError):
                await getattr(place, way)(value)


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_too_large_is_refused_before_it_costs_anything(way: str, place: Place) -> None:
    small = "x" * 1_000_000
    for value in ("é" * (200 * 1024**2), [small] * 200, {"a": [{"b": small}] * 200}):
        tracemalloc.start()
        began = perf_counter()
        with pytest.raises(TooLargeError, match="128 MiB"):
            await getattr(place, way)(value)
        took = perf_counter() - began
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()
        assert took < 0.1


async def test_bytes_are_kept_in_checkpoints(place: Place) -> None:
    for way in ("checkpoint", "pending_write", "checkpoint_metadata"):
        value = {"short": b"abc", "long": b"\0" * 1000, "in": [{"it": b""}]}
        assert await getattr(place, way)(value) == value


async def test_what_a_typed_store_cannot_give_back_is_refused_and_named(place: Place) -> None:
    store = place.persistence.kv(State, "typed")
    for wrong, where in (
        (State(key=SecretStr("x")), "key"),
        (State(steps=[Step(name="a"), HumanStep(name="b", call_id="c")]), r"steps\[1\] .*HumanStep.*Step"),
        (State(scores={1: "int", "1": "text"}), "the keys of .scores"),
        (State(anything={"deep": [Decimal("1.1")]}), "anything"),
        (State(anything=(1, 2)), "anything"),
    ):
        with pytest.raises(InvalidValueError, match=where):
            await store.set("k", wrong)
    fine = State(steps=[Step(name="a")], scores={"a": 1}, cache=object())
    fine._private = 5
    await store.set("k", fine)
    found = await store.get("k")
    assert found is not None
    assert found.model_dump() == fine.model_dump()


async def test_a_record_that_was_changed_to_something_wrong_is_refused(place: Place) -> None:
    """Nothing checks an assignment: the writer does."""
    message = UserMessage(content="x")
    for field, wrong in (("content", 5), ("id", 7), ("timestamp", datetime(2026, 1, 2)), ("extra", b"x"), ("role", [])):  # noqa: DTZ001
        setattr(message, field, wrong)
        with pytest.raises(InvalidValueError):
            await place._message(message, lambda each: each)
        message = UserMessage(content="x")
    image = {"imageId": "i", "containerId": "c", "sessionId": b"s"}
    with pytest.raises(InvalidValueError, match="sessionId"):
        await place.persistence.images.save_image(image)


async def test_a_job_may_fail_with_any_text(place: Place) -> None:
    work = place.persistence.work("q", max_attempts=1)
    await work.put("job")
    for job in await work.claim():
        with pytest.raises(ValueError, match="x"):
            async with job:
                raise ValueError("\ud800" + "x" * 100_000)
    (letter,) = await work.dead_letters()
    assert letter.error is not None
    assert len(letter.error) < 11_000


def test_the_reader_takes_what_the_writer_lets_through() -> None:
    """The limits are ours; the reader's are pydantic's."""
    for value in (nested(199), 10**4300 - 1):
        assert from_json(to_json(value)) == value
    for value in (nested(201), 10**4300):
        with pytest.raises(ValueError, match=r"recursion limit|out of range"):
            from_json(to_json(value))
    with pytest.raises(InvalidValueError, match=r"the value\['a'\]\[1\] is of type bytes"):
        check_plain({"a": [1, b"x"]}, "the value")
