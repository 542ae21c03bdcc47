"""Clause 1, batches: all or nothing, refused by name, never applied twice."""

from __future__ import annotations

from typing import Any

import pytest
from limpet import ConflictError, InvalidKeyError, InvalidValueError, LimpetError, UnsupportedError
from limpet.driver import Check, Delete, Driver, If, Item, Key, Put, Write, key, name, new_etag

from .._requires import requires
from .._suite import Section
from ..machinery.awkward_batches import Case, cases
from ..machinery.outcomes import carried, conflict_of, current, refused
from ..machinery.reading import one, snapshot

__all__ = ["Batches"]

A, B, C = (key(name("batches"), name(letter)) for letter in "abc")


class Batches(Section):
    """What `apply` promises about one batch at a time."""

    async def test_a_put_is_there_as_it_was_put(self, driver: Driver) -> None:
        put = Put(A, "value")
        await driver.apply([put])
        item = await one(driver, A)
        assert item == Item(A, "value", put.etag, item.updated_at if item else 0, None)

    async def test_a_deleted_item_is_gone(self, driver: Driver) -> None:
        await driver.apply([Put(A, "value")])
        await driver.apply([Delete(A)])
        assert await one(driver, A) is None
        assert await snapshot(driver) == {}

    async def test_an_empty_batch_is_applied(self, driver: Driver) -> None:
        await driver.apply([])
        assert await snapshot(driver) == {}

    async def test_a_condition_refuses_one_write(self, driver: Driver) -> None:
        await driver.apply([Put(A, "first")])
        for write in (Put(A, "x", If.ABSENT), Put(A, "x", new_etag()), Delete(A, new_etag()), Check(A, new_etag())):
            conflict = await refused(driver, [write])
            assert conflict.keys == (A,)
        for write in (Put(B, "x", If.PRESENT), Put(B, "x", new_etag()), Delete(B, If.PRESENT), Check(B)):
            conflict = await refused(driver, [write])
            assert conflict.keys == (B,)
        assert {at: item.value for at, item in (await snapshot(driver)).items()} == {A: "first"}

    async def test_each_awkward_write_gets_its_outcome(self, driver: Driver) -> None:
        wrong: list[str] = []
        for case in cases():
            if len(case.batch) == 1:
                wrong += await self._tried(driver, case, case.batch)
        assert not wrong, "\n".join(wrong)

    @requires(atomic="batch")
    async def test_each_awkward_batch_gets_its_outcome(self, driver: Driver) -> None:
        wrong: list[str] = []
        for case in cases():
            wrong += await self._tried(driver, case, case.batch)
        assert not wrong, "\n".join(wrong)

    @requires(atomic="batch")
    async def test_a_write_has_the_same_outcome_in_company(self, driver: Driver) -> None:
        """A driver may send a batch of one differently; both ways must decide the same."""
        company = key(name("company"))
        wrong: list[str] = []
        for case in cases():
            if len(case.batch) == 1:
                wrong += await self._tried(driver, case, [*case.batch, Delete(company)])
        assert not wrong, "\n".join(wrong)

    async def _tried(self, driver: Driver, case: Case, batch: Any) -> list[str]:
        """Prepare a case, apply its batch, and return what went wrong."""
        for at, stored in case.before.items():
            await driver.apply([Put(at, stored.value, None, stored.ttl_ms, stored.etag)])
        keys = sorted({*case.before, *case.after, *(write.key for write in batch)})
        before = dict(zip(keys, await driver.get(keys), strict=True))
        try:
            await driver.apply(batch)
        except ConflictError as conflict:
            if not case.failed:
                return [f"{case.title}: refused because of {conflict.keys}, and must be applied"]
            current(conflict, case.failed, before, case.title)
        except LimpetError as error:
            return [f"{case.title}: raised {type(error).__name__}: {error}"]
        else:
            if case.failed:
                return [f"{case.title}: applied, and must be refused"]
        after = dict(zip(keys, await driver.get(keys), strict=True))
        wrong = [at for at, item in after.items() if (at in case.after) != (item is not None)]
        wrong += [at for at, stored in case.after.items() if after[at] is not None and not stored.is_(after[at])]
        return [f"{case.title}: afterwards {at!r} holds {after[at]}, and not {case.after.get(at)}" for at in wrong]

    @requires(atomic="batch")
    async def test_a_refused_batch_writes_nothing(self, driver: Driver) -> None:
        await driver.apply([Put(A, "a"), Put(B, "b")])
        before = await snapshot(driver)
        writes: list[Write] = [Put(A, "x"), Delete(B), Put(C, "x")]
        for place in range(len(writes) + 1):
            failing = Check(key(name("nowhere")))
            await refused(driver, [*writes[:place], failing, *writes[place:]])
            assert await snapshot(driver) == before, f"a refused batch wrote something (condition at place {place})"

    @requires(atomic="batch")
    async def test_conditions_are_judged_before_anything_is_written(self, driver: Driver) -> None:
        etag = new_etag()
        await driver.apply([Put(B, "b", None, None, etag)])
        await refused(driver, [Put(A, "a"), Put(C, "c", If.PRESENT), Check(B, etag)])
        await driver.apply([Delete(A), Put(C, "c", If.ABSENT), Check(B, etag)])
        assert sorted(await snapshot(driver)) == [B, C]

    async def test_a_conflict_carries_what_is_there(self, driver: Driver) -> None:
        await driver.apply([Put(A, b"bytes", None, 3_600_000)])
        conflict = await refused(driver, [Put(A, "x", If.ABSENT)])
        assert set(conflict.items) == {A}, f"the conflict carries {set(conflict.items)} and not the item at {A!r}"
        current(conflict, frozenset({A}), {A: await one(driver, A)}, "a put if absent")
        conflict = await refused(driver, [Put(B, "x", If.PRESENT)])
        assert dict(conflict.items) == {B: None}

    async def test_a_retry_needs_nothing_but_the_conflict(self, driver: Driver) -> None:
        await driver.apply([Put(A, "1")])
        conflict = await refused(driver, [Put(A, "2", new_etag())])
        item = carried(conflict, A)
        await driver.apply([Put(A, "2", item.etag)])
        conflict = await refused(driver, [Check(A, item.etag)])
        now = carried(conflict, A)
        assert now.value == "2"

    @requires(atomic="batch")
    async def test_a_conflict_carries_at_most_a_mebibyte(self, driver: Driver) -> None:
        keys = [key(name("batches"), name(f"large{at}")) for at in range(4)]
        for at in keys:
            await driver.apply([Put(at, "x" * 600_000)])
        conflict = await refused(driver, [Put(at, "", If.ABSENT) for at in keys])
        assert conflict.keys
        assert set(conflict.keys) <= set(keys)
        carried = sum(len(item.value or "") for item in conflict.items.values() if item is not None)
        assert carried <= 1024 * 1024, f"the conflict carries {carried} bytes"
        current(conflict, frozenset(keys), dict(zip(keys, await driver.get(keys), strict=True)), "four large items")

    async def test_a_write_that_meets_its_own_etag_changes_nothing(self, driver: Driver) -> None:
        put = Put(A, "mine", If.ABSENT, 3_600_000)
        await driver.apply([put])
        first = await one(driver, A)
        await driver.apply([put])
        again = await one(driver, A)
        assert first is not None
        assert again is not None
        assert (again.value, again.etag, again.updated_at) == (first.value, first.etag, first.updated_at)

    @requires(atomic="batch")
    async def test_a_batch_sent_again_happens_once(self, driver: Driver) -> None:
        batch: list[Write] = [Put(A, "mine"), Delete(B), Put(C, "also mine", If.ABSENT)]
        await driver.apply(batch)
        await driver.apply([Put(B, "another's"), Delete(C)])
        await driver.apply(batch)
        values = {at: item.value for at, item in (await snapshot(driver)).items()}
        assert values == {A: "mine", B: "another's"}, f"the batch was done twice: {values}"

    @requires(atomic="batch")
    async def test_a_batch_has_one_now(self, driver: Driver) -> None:
        keys = [key(name("batches"), name(f"now{at:03}")) for at in range(100)]
        await driver.apply([Put(at, "x") for at in keys])
        moments = {item.updated_at for item in await driver.get(keys) if item is not None}
        assert len(moments) == 1, f"the items of one batch were updated at {sorted(moments)}"

    @requires(atomic="batch")
    async def test_a_key_occurs_once_in_a_batch(self, driver: Driver) -> None:
        batches: list[list[Write]] = [[Put(A, "1"), Put(A, "2")], [Put(A, "1"), Delete(A)], [Check(A), Delete(A)]]
        for twice in batches:
            with pytest.raises(InvalidKeyError):
                await driver.apply(twice)
        assert await snapshot(driver) == {}

    @pytest.mark.parametrize("write", [Check(A, If.ABSENT), Delete(A, If.ABSENT), Check(A, None)])  # type: ignore[arg-type]
    async def test_absence_may_be_asked_by_a_put_only(self, driver: Driver, write: Write) -> None:
        with pytest.raises(InvalidValueError):
            await driver.apply([write])
        assert await one(driver, A) is None

    async def test_a_driver_of_single_items_refuses_a_batch(self, driver: Driver) -> None:
        if self.capabilities.atomic == "batch":
            await driver.apply([Put(A, "1"), Put(B, "2")])
            assert sorted(await snapshot(driver)) == [A, B]
            return
        batches: list[list[Write]] = [[Put(A, "1"), Put(B, "2")], [Check(A), Put(B, "2")]]
        for batch in batches:
            with pytest.raises(UnsupportedError) as caught:
                await driver.apply(batch)
            assert len(str(caught.value)) > 40, "the error does not say what to do"
        (outcome,) = await driver.commit([[Put(A, "1"), Put(B, "2")]])
        assert isinstance(outcome, UnsupportedError)
        assert await snapshot(driver) == {}

    @requires(atomic="batch")
    async def test_awkward_batches_in_one_group(self, driver: Driver) -> None:
        listed = cases()
        for case in listed:
            await driver.apply([Put(at, s.value, None, s.ttl_ms, s.etag) for at, s in case.before.items()])
        before = await _all(driver, listed)
        outcomes = await driver.commit([case.batch for case in listed])
        assert len(outcomes) == len(listed)
        for case, outcome in zip(listed, outcomes, strict=True):
            if case.failed:
                current(conflict_of(outcome, case.title), case.failed, before, case.title)
            else:
                assert outcome is None, f"{case.title}: {outcome!r}"
        after = await _all(driver, listed)
        for case in listed:
            for at in {*case.before, *case.after}:
                stored, item = case.after.get(at), after[at]
                right = item is None if stored is None else stored.is_(item)
                assert right, f"{case.title}: afterwards {at!r} holds {item}, and not {stored}"


async def _all(driver: Driver, listed: list[Case]) -> dict[Key, Item | None]:
    keys = sorted({at for case in listed for at in (*case.before, *(write.key for write in case.batch))})
    return dict(zip(keys, await driver.get(keys), strict=True))
