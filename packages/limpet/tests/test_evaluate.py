"""The judge: pure, so every case is a table."""

from __future__ import annotations

from limpet import ConflictError, CorruptDataError
from limpet.driver import KEEP, Append, Check, Delete, Etag, If, Put, Unit, new_etag
from limpet.driver.kit import Record, evaluate, keys_to_read

NOW = 1_000_000


def record(value: str = "old", etag: str = "E", expires_at: int | None = None) -> Record:
    return Record(value, Etag(etag), NOW - 5, expires_at)


def test_conditions() -> None:
    items = {"a": record(), "dead": record(expires_at=NOW), "alive": record(expires_at=NOW + 1)}
    cases: list[tuple[Unit, bool]] = [
        ([Put("a", "x", If.ABSENT)], False),
        ([Put("a", "x", If.PRESENT)], True),
        ([Put("a", "x", Etag("E"))], True),
        ([Put("a", "x", Etag("e"))], False),
        ([Put("dead", "x", If.ABSENT)], True),
        ([Put("dead", "x", Etag("E"))], False),
        ([Put("alive", "x", If.ABSENT)], False),
        ([Delete("no")], True),
        ([Delete("no", If.PRESENT)], False),
        ([Delete("a", Etag("X"))], False),
        ([Check("a")], True),
        ([Check("dead")], False),
        ([Put("new", "x"), Check("no")], False),
    ]
    for unit, applied in cases:
        found = evaluate([unit], NOW, items)
        assert (found.outcomes[0] is None) == applied, unit
        assert applied or not found.effects, "a refused batch leaves nothing"


def test_later_units_see_what_earlier_ones_left() -> None:
    first = Put("a", "1", If.ABSENT)
    found = evaluate([[first], [Put("a", "2", If.ABSENT)], [Put("a", "3", first.etag)], [Delete("b")]], NOW, {})
    assert [type(outcome) for outcome in found.outcomes] == [type(None), ConflictError, type(None), type(None)]
    assert {key: stored and stored.value for key, stored in found.effects.items()} == {"a": "3"}


def test_a_conflict_names_what_failed_and_carries_what_is_there() -> None:
    found = evaluate([[Put("a", "x", If.ABSENT), Put("b", "y"), Check("c")]], NOW, {"a": record(), "b": record()})
    conflict = found.outcomes[0]
    assert isinstance(conflict, ConflictError)
    assert conflict.keys == ("a", "c")
    assert conflict.items["c"] is None
    carried = conflict.items["a"]
    assert carried is not None
    assert carried.value == "old"


def test_a_conflict_carries_at_most_a_mebibyte() -> None:
    big = record("x" * 700_000)
    found = evaluate([[Check("a", Etag("no")), Check("b", Etag("no"))]], NOW, {"a": big, "b": big})
    conflict = found.outcomes[0]
    assert isinstance(conflict, ConflictError)
    assert conflict.keys == ("a", "b")
    assert list(conflict.items) == ["a"]


def test_a_batch_that_meets_its_own_etag_succeeds_and_writes_nothing() -> None:
    put = Put("a", "x", If.ABSENT)
    found = evaluate([[put, Put("b", "y")]], NOW, {"a": Record("x", put.etag, NOW)})
    assert found.outcomes == [None]
    assert found.effects == {}


def test_expiry() -> None:
    items = {"a": record(expires_at=NOW + 50), "dead": record(expires_at=NOW - 1)}
    found = evaluate(
        [
            [Put("a", "x", None, KEEP)],
            [Put("b", "x", None, KEEP)],
            [Put("c", "x", None, 7)],
            [Put("dead", "x", None, KEEP)],
        ],
        NOW,
        items,
    )
    assert {key: stored and stored.expires_at for key, stored in found.effects.items()} == {
        "a": NOW + 50,
        "b": None,
        "c": NOW + 7,
        "dead": None,
    }


def test_appends_are_numbered_by_the_counter() -> None:
    head = {"log": record("head")}
    units = [Append("log!n", (Put("log!e", "x"), Put("log!e", "y")), Check("log")) for _ in range(2)]
    found = evaluate(units, NOW, head)
    assert found.outcomes == [0, 2]
    assert sorted(found.effects) == [*(f"log!e!{n:016}" for n in range(4)), "log!n"]
    counter = found.effects["log!n"]
    assert counter is not None
    assert counter.value == "4"
    refused = evaluate([Append("log!n", (Put("log!e", "x"),), Check("log", new_etag()))], NOW, head)
    assert isinstance(refused.outcomes[0], ConflictError)
    broken = evaluate([units[0]], NOW, {**head, "log!n": record("many")})
    assert isinstance(broken.outcomes[0], CorruptDataError)


def test_needed_names_every_key_once_in_order() -> None:
    units: list[Unit] = [
        [Put("b", "x"), Delete("a", If.PRESENT)],
        [Put("b", "x", If.ABSENT), Put("c", "y")],
        Append("l!n", (Put("l!e", "x"),), Check("l")),
    ]
    assert list(keys_to_read(units).items()) == [("a", True), ("b", True), ("c", False), ("l", True), ("l!n", True)]
