"""Lists of checkpoints over namespaces and threads, and the way from one to its ancestors."""

from __future__ import annotations

from typing import Any

import pytest
from limpet import ALL, CorruptDataError, InvalidValueError, NotFoundError, Persistence
from limpet.structures import Listing

LONG = "x" * 1000


def uuid(n: int) -> str:
    return f"019b0000-{n:04x}-7000-8000-000000000000"


async def by_ones(make: Any) -> list[Any]:
    """Everything in a list, one record a page."""
    found: list[Any] = []
    page = await make(limit=1)
    found += page
    while page.cursor is not None:
        page = await make(limit=1, cursor=page.cursor)
        found += page
    return found


async def filled(persistence: Persistence) -> dict[tuple[str, str], list[str]]:
    """The ids in each namespace of each thread, the latest first."""
    ids: dict[tuple[str, str], list[str]] = {}
    for thread in ("t", "u", "v"):
        for namespace in ("", "child|1", "child|2")[: 1 if thread == "v" else 3]:
            for n in range(4):
                await persistence.checkpoints.put(
                    thread, {"n": n}, id=uuid(n), namespace=namespace, metadata={"n": {"is": n, "of": [thread]}}
                )
                await persistence.checkpoints.put_writes(thread, uuid(n), "task", [("c", LONG)], namespace=namespace)
            ids[thread, namespace] = [uuid(n) for n in (3, 2, 1, 0)]
    await persistence.checkpoints.put("gone", {})
    assert await persistence.checkpoints.delete("gone")
    await persistence.checkpoints.put_writes("v", "later", "task", [("c", 1)], namespace="only writes")
    return ids


async def test_lists_of_all_namespaces_and_of_all_threads(persistence: Persistence) -> None:
    ids = await filled(persistence)
    checkpoints = persistence.checkpoints

    async def grouped(**where: Any) -> dict[tuple[str, str], list[str]]:
        def make(**page: Any) -> Listing[Any]:
            return checkpoints.list(
                where.get("thread", ALL), **{k: v for k, v in where.items() if k != "thread"}, **page
            )

        found = list(await make())
        assert await by_ones(make) == found
        assert [each async for each in make()] == found
        groups: dict[tuple[str, str], list[str]] = {}
        for each in found:
            assert [write.value for write in each.writes] == [LONG]
            groups.setdefault((each.thread_id, each.namespace), []).append(each.id)
        return groups

    assert await grouped(namespace=ALL) == ids
    assert await grouped(namespace="child|2") == {at: ids[at] for at in ids if at[1] == "child|2"}
    assert await grouped() == {at: ids[at] for at in ids if not at[1]}
    assert await grouped(thread="t", namespace=ALL) == {at: ids[at] for at in ids if at[0] == "t"}
    assert await grouped(thread="t", namespace="child|1") == {("t", "child|1"): ids["t", "child|1"]}
    assert await grouped(namespace=ALL, before=uuid(2)) == {at: [uuid(1), uuid(0)] for at in ids}
    assert await grouped(namespace=ALL, filter={"n": {"is": 2, "of": ["u"]}}) == {
        at: [uuid(2)] for at in ids if at[0] == "u"
    }
    assert await grouped(thread="nobody", namespace=ALL) == {}
    with pytest.raises(InvalidValueError, match="name both"):
        checkpoints.list("t", namespace=ALL, before="c1")
    assert sorted(await checkpoints.threads()) == ["t", "u", "v"]
    assert sorted(await by_ones(checkpoints.threads)) == ["t", "u", "v"]
    assert sorted(await checkpoints.namespaces("t")) == ["", "child|1", "child|2"]
    assert await checkpoints.namespaces("v") == [""]


async def test_history_leads_from_a_checkpoint_to_its_ancestors(persistence: Persistence) -> None:
    checkpoints = persistence.checkpoints
    parents: dict[str, str | None] = {}
    for n in range(70):  # two branches from the fifth on, whose checkpoints take turns
        parent = None if not n else f"c{n - 1}" if n <= 5 else f"c{max(n - 2, 4)}"
        parents[f"c{n}"] = parent
        await checkpoints.put("t", {"n": n}, id=f"c{n}", parent_id=parent)
        await checkpoints.put_writes("t", f"c{n}", "task", [("c", n)])

    def chain(id: str | None) -> list[str]:
        return [] if id is None else [id, *chain(parents[id])]

    for start in (None, "c69", "c68", "c5", "c0"):

        def make(start: str | None = start, **page: Any) -> Listing[Any]:
            return checkpoints.history("t", id=start, **page)

        found = await make()
        assert [each.id for each in found] == chain(start or "c69")
        assert all([write.value for write in each.writes] == [each.checkpoint["n"]] for each in found)
        assert await by_ones(make) == list(found)
        assert [each.id async for each in make(limit=7)] == chain(start or "c69")[:7]
    assert await checkpoints.history("nobody") == []
    with pytest.raises(NotFoundError, match="nobody"):
        await checkpoints.history("t", id="nobody")
    await checkpoints.put("t", {}, id="orphan", parent_id="never")
    assert [each.id for each in await checkpoints.history("t")] == ["orphan"], "the parent is not there"
    await checkpoints.put("t", {}, id="own", parent_id="own")
    with pytest.raises(CorruptDataError, match="its own ancestor"):
        await checkpoints.history("t")
