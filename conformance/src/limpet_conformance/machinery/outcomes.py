"""The outcome of a call, as a value that tests can compare."""

from __future__ import annotations

from collections.abc import Sequence

from limpet import ConflictError
from limpet.driver import Driver, Item, Key, Outcome, Write

__all__ = ["carried", "conflict_of", "current", "refused"]


async def refused(driver: Driver, batch: Sequence[Write]) -> ConflictError:
    """Apply a batch that must be refused."""
    try:
        await driver.apply(batch)
    except ConflictError as conflict:
        return conflict
    raise AssertionError(f"a batch whose condition does not hold was applied: {batch}")


def carried(conflict: ConflictError, key: Key) -> Item:
    """Return the item that a conflict contains for a key with a stored item."""
    item = conflict.items.get(key)
    assert item is not None, f"the conflict does not carry the item at {key!r}"
    return item


def conflict_of(outcome: Outcome, what: str) -> ConflictError:
    """Return the conflict that a unit of a group must have had."""
    assert isinstance(outcome, ConflictError), f"{what}: the verdict is {outcome!r} where a ConflictError belongs"
    return outcome


def current(conflict: ConflictError, failed: frozenset[Key], there: dict[Key, Item | None], what: str) -> None:
    """Assert that a conflict names keys that failed, at least one, and contains what is stored."""
    assert conflict.keys, f"{what}: the conflict names no key"
    wrong = set(conflict.keys) - failed
    assert not wrong, f"{what}: the conflict names {sorted(wrong)}, whose condition holds"
    strange = set(conflict.items) - set(conflict.keys)
    assert not strange, f"{what}: the conflict carries items of keys that it does not name: {sorted(strange)}"
    for key, item in conflict.items.items():
        now = there[key]
        if item is None or now is None:
            assert item is now, f"{what}: the conflict carries {item} for {key!r} where {now} is"
            continue
        same = item.value == now.value and type(item.value) is type(now.value) and item.etag == now.etag
        assert same, f"{what}: the conflict carries {item} for {key!r} where {now} is"
        assert (item.ttl_ms is None) == (now.ttl_ms is None), f"{what}: the conflict's item has another expiry"
        assert item.updated_at == now.updated_at, f"{what}: the conflict's item has another updated_at"
