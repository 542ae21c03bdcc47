"""The stores say the same things in the same way, and docs/choosing-a-store.md shows them beside each other."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from limpet.state import StateHistory
from limpet.stores import (
    ApprovalStore,
    BlobStore,
    CheckpointStore,
    EventQueue,
    FeedbackStore,
    KeyValueStore,
    KeyValueTree,
    Persistence,
    ThreadStore,
    WorkQueue,
)

PAGE = Path(__file__).parents[2] / "docs/choosing-a-store.md"

STORES = {
    "threads": ThreadStore,
    "feedback": FeedbackStore,
    "approvals": ApprovalStore,
    "checkpoints": CheckpointStore,
    "blobs": BlobStore,
    "kv(kind, namespace)": KeyValueStore,
}
"""The stores that are ours. Containers, images, sessions and plain storage have the names that AgentX gave them."""

ALSO = [StateHistory, EventQueue, KeyValueTree, WorkQueue]
"""Those have verbs of their own, but keep to the rules."""

VERBS = {
    "create": "makes one, and returns it; `ConflictError` if its `id=` is taken",
    "put": "stores one, new or not, and returns its id",
    "set": "stores one, new or not, and returns its etag",
    "get": "returns one, or `None`",
    "exists": "returns whether there is one",
    "list": "returns a `Listing`: await it for a page, iterate over it for everything",
    "update": "changes what you say, and nothing else; returns the result",
    "delete": "removes one; returns whether there was one",
}
ALLOWED = {
    "KeyValueTree.clear": ["prefix"],  # what it is about
    "KeyValueTree.entries": ["prefix"],  # as in the two beside it
    "KeyValueTree.namespaces": ["prefix"],
    "KeyValueTree.write": ["entries"],  # a batch may only delete
    "EventQueue.recover": ["after"],  # readers of AgentX's queue know it there
    "Persistence.upkeep": ["policies"],  # what it is about
    "ThreadStore.add_message": ["content"],  # a message may have none, and only a tool call
}


def positional(method: object) -> list[str]:
    parameters = list(inspect.signature(method).parameters.values())[1:]  # type: ignore[arg-type]
    return [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]


def table() -> str:
    lines = ["| | " + " | ".join(f"`{store}`" for store in STORES) + " | |", "| --- " * (len(STORES) + 2) + "|"]
    for verb, meaning in VERBS.items():
        cells = [
            f"`({', '.join(positional(getattr(store, verb)))})`" if hasattr(store, verb) else ""
            for store in STORES.values()
        ]
        lines.append(f"| `{verb}` | {' | '.join(cells)} | {meaning} |")
    return "\n".join(lines) + "\n"


def methods() -> Iterator[tuple[str, object]]:
    for store in (*STORES.values(), *ALSO, Persistence):
        for name, method in inspect.getmembers(store, inspect.isfunction):
            if not name.startswith("_"):
                yield f"{store.__name__}.{name}", method


METHODS = dict(methods())


def test_the_page_shows_the_stores_as_they_are() -> None:
    assert table() in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("store", [*STORES.values(), *ALSO])
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_returns_the_same_kind_everywhere(store: type, verb: str) -> None:
    method = getattr(store, verb, None)
    if method is None:
        return
    returned = str(inspect.signature(method).return_annotation)
    match verb:
        case "exists" | "delete":
            assert returned == "bool"
        case "get":
            assert returned.endswith(" | None")
        case "list":
            assert returned.startswith("Listing[")
            assert not inspect.iscoroutinefunction(method), "a Listing is there without await"
        case _:
            assert returned not in ("None", "Any")


@pytest.mark.parametrize("name", METHODS)
def test_what_may_be_left_out_has_to_be_named(name: str) -> None:
    optional = [
        each.name
        for each in inspect.signature(METHODS[name]).parameters.values()  # type: ignore[arg-type]
        if each.kind is each.POSITIONAL_OR_KEYWORD and each.default is not each.empty
    ]
    assert optional == ALLOWED.get(name, [])


@pytest.mark.parametrize("name", METHODS)
def test_every_listing_is_paged_alike(name: str) -> None:
    signature = inspect.signature(METHODS[name])  # type: ignore[arg-type]
    if str(signature.return_annotation).startswith("Listing["):
        assert {"limit", "cursor"} <= signature.parameters.keys()
        assert all(signature.parameters[option].default is None for option in ("limit", "cursor"))


@pytest.mark.parametrize("name", METHODS)
def test_ttl_is_the_expiry_of_what_is_stored(name: str) -> None:
    if "ttl" in inspect.signature(METHODS[name]).parameters:  # type: ignore[arg-type]
        assert name.rpartition(".")[2] in ("create", "set", "set_many", "replace", "touch"), (
            "how long a claim lasts is lease="
        )


async def test_exists_says_what_get_would_give(persistence: Persistence) -> None:
    await persistence.threads.create(id="t", user_id="u", agent_name="a")
    await persistence.feedback.create("t", rating=5, id="f")
    await persistence.approvals.create("t", agent_name="a", node_name="n", state=1, id="a")
    await persistence.approvals.create("t", agent_name="a", node_name="n", state=1, id="gone", ttl=0.01)
    await persistence.checkpoints.put("t", {"step": 1}, id="c", namespace="n")
    await persistence.blobs.create(b"1", id="b")
    await persistence.kv(int, "n").set("k", 1)
    await asyncio.sleep(0.05)
    assert await persistence.threads.exists("t")
    assert not await persistence.threads.exists("f")
    assert await persistence.feedback.exists("f")
    assert not await persistence.feedback.exists("t")
    assert await persistence.approvals.exists("a")
    assert not await persistence.approvals.exists("gone"), "it has expired"
    assert await persistence.checkpoints.exists("t", namespace="n")
    assert await persistence.checkpoints.exists("t", namespace="n", id="c")
    assert not await persistence.checkpoints.exists("t", namespace="n", id="d")
    assert not await persistence.checkpoints.exists("t"), "the namespace without a name is another"
    assert not await persistence.checkpoints.exists("u", namespace="n")
    assert await persistence.blobs.exists("b")
    assert await persistence.kv(int, "n").exists("k")
    await persistence.threads.delete("t")
    assert not await persistence.feedback.exists("f"), "it goes with its thread"
    assert not await persistence.checkpoints.exists("t", namespace="n")


async def test_revisions_channels_and_namespaces_come_in_pages(persistence: Persistence) -> None:
    state = persistence.state(dict, "counter", history=5)
    for n in range(4):
        async with state as value:
            value["n"] = n
    first = await state.history.list(limit=3)
    assert [revision.number for revision in first] == [4, 3, 2]
    rest = await state.history.list(limit=3, cursor=first.cursor)
    assert [revision.number for revision in rest] == [1]
    assert rest.cursor is None
    assert [revision.number async for revision in state.history.list()] == [4, 3, 2, 1]
    async with persistence.events(prune_interval=None) as queue:
        for channel in ("a", "b", "c"):
            await queue.publish(channel, 1)
        assert sorted([each async for each in queue.channels()]) == ["a", "b", "c"]
        two = await queue.channels(limit=2)
        assert sorted([*two, *await queue.channels(cursor=two.cursor)]) == ["a", "b", "c"]
    for namespace in ("x", "y", "z"):
        await persistence.checkpoints.put("t", {}, namespace=namespace)
    two = await persistence.checkpoints.namespaces("t", limit=2)
    assert sorted([*two, *await persistence.checkpoints.namespaces("t", cursor=two.cursor)]) == ["x", "y", "z"]


if __name__ == "__main__":
    print(table())
