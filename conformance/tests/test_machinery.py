"""What the sections lean on is right: the model, the search for an order, the faults."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limpet import UnavailableError
from limpet.driver import Check, Delete, Driver, Etag, If, Item, MemoryDriver, Put, Range, Write, check_key, new_etag
from limpet.driver.kit import Record, evaluate, host_now_ms
from limpet_conformance import faults
from limpet_conformance.faults import counted, dropped, late, skewed, swallowed
from limpet_conformance.machinery.awkward_batches import cases
from limpet_conformance.machinery.awkward_keys import KEYS, TEXTS, in_order
from limpet_conformance.machinery.history import Applied, Event, Looked, Refused, Unknown, explain
from limpet_conformance.machinery.model import Model, Stored

THERE = Put("a", "there")
BEFORE = {"a": Stored("there", THERE.etag)}


def _item(put: Put) -> Item:
    return Item(put.key, put.value, put.etag, 0)


def test_the_list_of_awkward_batches_agrees_with_the_model_and_with_the_judge() -> None:
    for case in cases():
        model = Model(dict(case.before))
        assert model.apply(case.batch) == case.failed, case.title
        assert model.items == case.after, case.title
        records = {
            at: Record(stored.value, stored.etag, 0, None if stored.ttl_ms is None else 1_000 + stored.ttl_ms)
            for at, stored in case.before.items()
        }
        evaluation = evaluate([case.batch], 1_000, records)
        assert (evaluation.outcomes[0] is None) == (not case.failed), case.title
        after = {at: record for at, record in (records | evaluation.effects).items() if record is not None}
        assert {at: (record.value, record.etag) for at, record in after.items()} == {
            at: (stored.value, stored.etag) for at, stored in case.after.items()
        }, case.title


def test_awkward_batches_have_nothing_in_common() -> None:
    seen: set[str] = set()
    for case in cases():
        keys = {*case.before, *(write.key for write in case.batch)}
        assert not seen & keys
        seen |= keys
    assert len(cases()) >= 40
    assert len({case.title for case in cases()}) == len(cases())


_ETAGS = [new_etag() for _ in range(6)]
_writes = st.lists(
    st.tuples(
        st.sampled_from("pdc"),
        st.sampled_from("abc"),
        st.sampled_from([None, If.ABSENT, If.PRESENT, *_ETAGS]),
        st.sampled_from(_ETAGS),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda drawn: drawn[1],
)


@given(batches=st.lists(_writes, max_size=12))
def test_model_and_judge_agree(batches: list[list[tuple[str, str, If | Etag | None, Etag]]]) -> None:
    model = Model()
    records: dict[str, Record | None] = {}
    for drawn in batches:
        batch: list[Write] = []
        for kind, at, cond, etag in drawn:
            if kind == "p":
                batch.append(Put(at, etag, cond, None, etag))
            elif kind == "d":
                batch.append(Delete(at, None if cond is If.ABSENT else cond))
            else:
                batch.append(Check(at, If.PRESENT if cond in (None, If.ABSENT) else cond))
        failed = model.apply(batch)
        evaluation = evaluate([batch], 0, records)
        records |= evaluation.effects
        outcome = evaluation.outcomes[0]
        assert (outcome is None) == (not failed)
        if outcome is not None:
            assert set(outcome.keys) == failed  # type: ignore[union-attr]
        kept = {at: record.etag for at, record in records.items() if record is not None}
        assert kept == {at: stored.etag for at, stored in model.items.items()}


def test_keys_are_encoded_and_in_their_order() -> None:
    for at in KEYS:
        check_key(at)
    assert max(len(at.encode()) for at in KEYS) == 1024
    assert in_order(KEYS) == sorted(KEYS)
    assert len(set(TEXTS)) == len(TEXTS)


def test_an_order_is_found() -> None:
    moved = Put("b", "moved")
    move: list[Write] = [Delete("a", THERE.etag), moved]
    again = Put("a", "again", If.ABSENT)
    events: list[Event] = [Applied([again]), Refused([Put("b", "x", If.ABSENT)], ("b",), {}), Applied(move)]
    assert explain(BEFORE, events, {"a": _item(again), "b": _item(moved)}) == [2, 0, 1]


def test_two_winners_have_no_order() -> None:
    rivals = [Put("a", "1", THERE.etag), Put("a", "2", THERE.etag)]
    assert explain(BEFORE, [Applied([rival]) for rival in rivals], {"a": _item(rivals[1])}) is None


def test_write_skew_has_no_order() -> None:
    other = Put("b", "there")
    before = BEFORE | {"b": Stored("there", other.etag)}
    takes: list[list[Write]] = [[Check("a"), Delete("b")], [Check("b"), Delete("a")]]
    assert explain(before, [Applied(take) for take in takes], {}) is None
    conflict = Refused(takes[1], ("b",), {"b": None})
    assert explain(before, [conflict, Applied(takes[0])], {"a": _item(THERE)}) == [1, 0]


def test_both_left_have_no_order() -> None:
    puts = [Put("a", "1"), Put("b", "2")]
    events = [Applied([puts[0], Delete("b")]), Applied([puts[1], Delete("a")])]
    assert explain({}, events, {"a": _item(puts[0]), "b": _item(puts[1])}) is None
    assert explain({}, events, {"b": _item(puts[1])}) == [0, 1]


def test_a_torn_look_has_no_order() -> None:
    puts = [Put("a", "1"), Put("b", "1")]
    after = {put.key: _item(put) for put in puts}
    assert explain({}, [Applied(puts), Looked({"a": after["a"], "b": None})], after) is None
    assert explain({}, [Applied(puts), Looked({"a": None, "b": None})], after) == [1, 0]


def test_an_innocent_key_in_a_conflict_has_no_order() -> None:
    batch = [Put("a", "x", If.ABSENT), Put("b", "x", If.ABSENT)]
    assert explain(BEFORE, [Refused(batch, ("a",), {})], {"a": _item(THERE)}) == [0]
    assert explain(BEFORE, [Refused(batch, ("a", "b"), {})], {"a": _item(THERE)}) is None
    assert explain(BEFORE, [Refused(batch, ("a",), {"a": None})], {"a": _item(THERE)}) is None


def test_an_unknown_batch_happened_once_or_not_at_all() -> None:
    put = Put("b", "x")
    assert explain(BEFORE, [Unknown([put])], {"a": _item(THERE)}) == []
    assert explain(BEFORE, [Unknown([put])], {"a": _item(THERE), "b": _item(put)}) == [0]


async def test_faults_end_with_their_context() -> None:
    async with MemoryDriver() as driver:
        with counted(driver) as counts, dropped(driver) as fault:
            with pytest.raises(UnavailableError):
                await driver.apply([THERE])
            await driver.apply([THERE])
            await driver.get(["a"])
            await driver.scan(Range(""))
        assert fault.fired == 1
        assert (counts.commits, counts.units, counts.fetches, counts.lists) == (1, 1, 1, 1)
        with swallowed(driver), late(driver, times=0):
            await driver.apply([Put("b", "x")])
        assert not {"_commit", "_fetch", "_list"} & set(vars(driver))
        await driver.apply([Put("c", "x")])
        assert counts.commits == 1


def test_faults_need_a_seam() -> None:
    class Bare(MemoryDriver):
        pass

    driver = Bare.__new__(Bare)
    assert faults.can_inject(driver)
    bare: Driver = object.__new__(type("Other", (), {}))
    assert not faults.can_inject(bare)
    with pytest.raises(TypeError, match="no seam"), dropped(bare):
        pass


def test_a_skewed_clock_is_put_right_again() -> None:
    true = time.time()
    with skewed(-600):
        assert time.time() < true - 590
        assert time.time_ns() < (true - 590) * 1e9
        import datetime as module

        assert module.datetime.now(UTC).timestamp() < true - 590
        assert abs(host_now_ms() / 1000 - true) < 5, "the backend's clock moved with the client's"
    assert abs(time.time() - true) < 5
    assert abs(datetime.now(UTC).timestamp() - true) < 5
