"""Arguments that nobody should pass are refused by name, with an error of ours: every public method, every argument."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from limpet import InvalidKeyError, LimpetError, Persistence, Storage, create_persistence, create_storage
from limpet.stores import RetentionPolicies


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


WRONG: list[Any] = [
    *(5, -1, 0, 10**30, -(10**30), 1.5, math.nan, True, None, 1j, b"x", UUID(int=1), Decimal(1)),
    *([], ["a"], {}, {"a": 1}, (), object(), range(3), "", "\ud800", "x" * 2000, nested(5000)),
    *(timedelta(days=999_999_999), timedelta(seconds=-1), datetime(2026, 1, 1), datetime.max.replace(tzinfo=UTC)),  # noqa: DTZ001
]

GOOD: dict[str, Any] = {
    "thread_id": "t",
    "session_id": "s",
    "image_id": "i",
    "container_id": "c",
    "id": "x",
    "key": "k",
    "channel": "c",
    "consumer": "w",
    "user_id": "u",
    "agent_name": "a",
    "node_name": "n",
    "state": 1,
    "by": "me",
    "decision": "yes",
    "checkpoint_id": "c",
    "task_id": "t",
    "writes": [("c", 1)],
    "checkpoint": {},
    "source": b"x",
    "target": "t2",
    "role": "user",
    "event": 1,
    "value": 1,
    "values": {"a": 1},
    "keys": ["a"],
    "items": {"a": 1},
    "namespace": "n",
    "name": "n",
    "ttl": 1,
    "ttls": {},
    "kind": dict,
    "model_cls": dict,
    "cursor": "0" * 16,
    "number": 1,
    "metadata": {},
    "base": "b",
    "data": {"a": 1},
    "image": {"imageId": "i", "containerId": "c", "sessionId": "s"},
    "session": {"sessionId": "s"},
    "seq": 0,
    "container": {"containerId": "c"},
    "change": lambda value: value,
    "callback": lambda event: None,
    "message_id": "m",
    "driver": "memory://",
    "snapshot": {},
    "rating": 1,
    "max_age": timedelta(days=1),
    "policies": RetentionPolicies(),
    "messages": [{"subtype": "user", "content": "x"}],
    "message": {"subtype": "user", "content": "x"},
}

INTERNAL = {
    "plan_delete",
    "removal",
    "removals",
    "keys",
    "at",
    "encode",
    "decode",
    "clear",
    "finish_deletions",
    "fork_with",
}
"""For other stores, not for applications; or without arguments that could be wrong."""
CLOSING = {"aclose", "start", "upkeep"}


def stores(persistence: Persistence, storage: Storage) -> dict[str, Any]:
    state = persistence.state(dict, "agent", factory=dict, history=3)
    return {
        **{
            name: getattr(persistence, name) for name in ("approvals", "blobs", "checkpoints", "containers", "feedback")
        },
        **{name: getattr(persistence, name) for name in ("images", "sessions", "threads")},
        "persistence": persistence,
        "storage": storage,
        "kv": persistence.kv(dict, "n"),
        "kv_tree": persistence.kv_tree(dict),
        "state": state,
        "history": state.history,
        "events": persistence.events(prune_interval=None),
        "work": persistence.work("q"),
    }


@pytest.fixture
async def opened() -> AsyncIterator[dict[str, Any]]:
    async with create_persistence("memory://") as persistence, create_storage("memory://") as storage:
        await persistence.sessions.save_session({"sessionId": "s"})
        await persistence.threads.create(id="t", user_id="u", agent_name="a")
        await persistence.kv(dict, "n").set("k", {"a": 1})
        await storage.set_item("k", 1)
        found = stores(persistence, storage)
        async with found["state"] as held:
            held["a"] = 1
        await found["events"].publish("c", 1)
        yield found
        await found["events"].aclose()


def methods(store: Any) -> Iterator[tuple[str, inspect.Signature]]:
    for name in dir(store):
        method = None if name.startswith("_") or name in CLOSING | INTERNAL else getattr(store, name)
        if inspect.ismethod(method):
            yield name, inspect.signature(method)


def call(method: Callable[..., Any], signature: inspect.Signature, wrong: str, value: Any) -> Any:
    args, kwargs = [], {}
    for name, parameter in signature.parameters.items():
        if name == wrong:
            given = value
        elif parameter.default is inspect.Parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            given = GOOD[name]
        else:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY:
            kwargs[name] = given
        else:
            args.append(given)
    return method(*args, **kwargs)


async def outcome(answer: Any) -> None:
    if inspect.isasyncgen(answer):
        try:
            async with asyncio.timeout(0.01):
                await anext(answer)
        except (TimeoutError, StopAsyncIteration):
            pass
        finally:
            await answer.aclose()
    elif inspect.isawaitable(answer):
        async with asyncio.timeout(10):
            found = await answer
        if inspect.isfunction(found):  # how to end a subscription
            await found()


NAMES: tuple[str, ...] = (
    "approvals",
    "blobs",
    "checkpoints",
    "containers",
    "events",
    "feedback",
    "history",
    "images",
    "kv",
    "kv_tree",
)
NAMES += ("persistence", "sessions", "state", "storage", "threads", "work")


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
@pytest.mark.parametrize("name", NAMES)
async def test_every_argument_of_every_method(name: str, opened: dict[str, Any]) -> None:
    tried = 0
    store = opened[name]
    for method, signature in methods(store):
        for wrong, parameter in signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD or wrong == "wait":
                continue
            for value in WRONG:
                tried += 1
                try:
                    await outcome(call(getattr(store, method), signature, wrong, value))
                except LimpetError:
                    pass
                except Exception as error:  # noqa: BLE001 - what this test looks for
                    pytest.fail(
                        f"{name}.{method}({wrong}={type(value).__name__}) raised {type(error).__name__}: {error}"
                    )
    assert tried >= len(WRONG)


async def test_it_is_named(opened: dict[str, Any]) -> None:
    refusals: list[tuple[Callable[[], Any], str]] = [
        (lambda: opened["threads"].get(UUID(int=1)), "thread_id must be a string, not UUID"),
        (lambda: opened["checkpoints"].put("t", {}, id=5), "id must be a string or None, not int"),
        (lambda: opened["sessions"].add_message(7, {"subtype": "user", "content": "x"}), "session_id must be a string"),
        (lambda: opened["kv"].get("\ud800"), "key holds a lone surrogate"),
    ]
    for refused, name in refusals:
        with pytest.raises(InvalidKeyError, match=name):
            await refused()
    with pytest.raises(LimpetError, match="limit must be a whole number or None, not str"):
        await opened["threads"].list(limit="10")
    with pytest.raises(LimpetError, match="wait is not a number"):
        await opened["work"].claim(wait=math.nan)
