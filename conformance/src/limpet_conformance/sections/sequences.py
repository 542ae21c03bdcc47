"""Clauses 1 to 6 together: random operations, in sequence, compared with a dict that does the same."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from limpet import ConflictError
from limpet.driver import (
    KEEP,
    Check,
    Delete,
    Driver,
    Etag,
    If,
    Item,
    Key,
    Outcome,
    Put,
    Write,
    key,
    name,
    new_etag,
    text,
)

from .._suite import Section
from ..machinery.model import Model, Stored, own_etag
from ..machinery.reading import walk

__all__ = ["Sequences"]

S = name("seq")
_KEYS = [key(S, *map(text, path.split("/"))) for path in ("a", "a/b", "a/b/c", "ab", "a b", "A", "b", "b/\x00")]
_KEYS += [key(S), key(name("sequel"), text("a"))]
_BASES = [
    "",
    key(S),
    key(S, text("a")),
    key(S, text("a"), text("b")),
    key(S, text("b")),
    key(S, text("nothing")),
    name("sequel"),
]
_VALUES: list[str | bytes] = ["", "text", "\x00", "😀", '{"a": 1}', b"", b"text", b"\xff\x00", "x" * 300]

_conditions = st.sampled_from(["none", "none", "none", "absent", "present", "current", "stale", "other"])
_write = st.tuples(
    st.sampled_from(["put", "put", "put", "delete", "check"]),
    st.sampled_from(_KEYS),
    _conditions,
    st.sampled_from(_VALUES),
    st.sampled_from([None, None, KEEP, 3_600_000, 7_200_000]),
)
_batch = st.lists(_write, min_size=1, max_size=5, unique_by=lambda drawn: drawn[1])


class Sequences(Section):
    """A Hypothesis state machine."""

    def test_random_operations_agree_with_a_dict(self) -> None:
        with self.by_hand() as (opened, runner):

            class Machine(_Machine):
                driver = opened
                run = staticmethod(runner)
                single = self.capabilities.atomic == "item"

            try:
                run_state_machine_as_test(Machine, settings=settings(self.examples(24), stateful_step_count=25))
            except Flaky as error:
                raise AssertionError(f"the same operations had another outcome the second time: {error}") from error


class _Machine(RuleBasedStateMachine):
    """The driver and the model. After every step, both contain the same."""

    driver: Driver
    run: Callable[[Coroutine[Any, Any, None]], None]
    single: bool

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.stale: list[Etag] = [new_etag()]
        self.sent: list[list[Write]] = []

    @initialize(absent=st.sets(st.sampled_from(_KEYS), max_size=6))
    def begin(self, absent: set[Key]) -> None:
        """Most keys exist at the start, because the interesting mistakes need neighbours."""
        puts = [Put(at, f"value of {at}") for at in _KEYS if at not in absent]

        async def step() -> None:
            await self.driver.clear("")
            for put in puts:
                await self.driver.apply([put])

        self.run(step())
        self.model.apply(puts)

    @rule(drawn=_batch)
    def apply(self, drawn: list[Any]) -> None:
        batch = self._batch(drawn)

        async def step() -> None:
            outcome: Outcome = None
            try:
                await self.driver.apply(batch)
            except ConflictError as conflict:
                outcome = conflict
            self._agree(batch, outcome)

        self.run(step())

    @rule(drawn=st.lists(_batch, min_size=2, max_size=4))
    def commit(self, drawn: list[Any]) -> None:
        """Batches without common keys, so that their order does not matter."""
        batches: list[list[Write]] = []
        used: set[Key] = set()
        for each in drawn:
            batch = self._batch([draw for draw in each if draw[1] not in used])
            used |= {write.key for write in batch}
            batches.append(batch)

        async def step() -> None:
            for batch, outcome in zip(batches, await self.driver.commit(batches), strict=True):
                self._agree(batch, outcome)

        self.run(step())

    @rule(at=st.integers(0, 30))
    def apply_again(self, at: int) -> None:
        """Send an earlier batch again, with its etags: it is applied again only if nothing of it is left."""
        if not self.sent:
            return
        batch = self.sent[at % len(self.sent)]
        if own_etag(self.model.items, batch):
            self._again(batch)

    def _again(self, batch: list[Write]) -> None:
        async def step() -> None:
            await self.driver.apply(batch)

        self.run(step())

    @rule(keys=st.lists(st.sampled_from(_KEYS), max_size=8))
    def get(self, keys: list[Key]) -> None:
        async def step() -> None:
            items = await self.driver.get(keys)
            assert len(items) == len(keys)
            for at, item in zip(keys, items, strict=True):
                self._is(at, item, "get()")

        self.run(step())

    @rule(
        base=st.sampled_from(["", "", *_BASES]),
        bounds=st.tuples(st.sampled_from([None, *_KEYS]), st.sampled_from([None, *_KEYS])),
        limit=st.integers(1, 6),
    )
    def scan(self, base: Key, bounds: tuple[Key | None, Key | None], limit: int) -> None:
        """Between two bounds, between the same two swapped, and both in reverse."""

        async def step() -> None:
            place = await self._places()
            known = [at if at is None or at in place else None for at in bounds]  # the position of others is unknown
            for after, before in (known, known[::-1]):
                for reverse in (False, True):
                    items = await walk(self.driver, base, after=after, before=before, reverse=reverse, limit=limit)
                    wanted = [
                        at
                        for at in sorted(self.model.below(base), key=place.__getitem__)
                        if (after is None or place[at] > place[after]) and (before is None or place[at] < place[before])
                    ]
                    assert [item.key for item in items] == (wanted[::-1] if reverse else wanted)
                    for item in items:
                        self._is(item.key, item, "scan()")

        self.run(step())

    @rule(base=st.sampled_from(_BASES[1:]))
    def clear(self, base: Key) -> None:
        async def step() -> None:
            below = self.model.below(base)
            assert await self.driver.clear(base) == len(below)
            for at in below:
                self.stale.append(self.model.items.pop(at).etag)

        self.run(step())

    @invariant()
    def same(self) -> None:
        async def step() -> None:
            items = await walk(self.driver, limit=1000)
            place = await self._places()
            assert [item.key for item in items] == sorted(self.model.below(""), key=place.__getitem__)
            for item in items:
                self._is(item.key, item, "scan()")

        self.run(step())

    async def _places(self) -> dict[Key, int]:
        """Return the positions of keys: all that are used here; without `text_order`, those that the driver lists."""
        if self.driver.capabilities.text_order:
            order = sorted(_KEYS)
        else:
            order = [item.key for item in await walk(self.driver, values=False)]
            assert sorted(order) == self.model.below("")
        return {at: place for place, at in enumerate(order)}

    def _is(self, at: Key, item: Item | None, where: str) -> None:
        stored = self.model.items.get(at)
        same = item is None if stored is None else stored.is_(item)
        assert same, f"{where} gives {item} at {at!r} where the model has {stored}"

    def _batch(self, drawn: list[Any]) -> list[Write]:
        batch: list[Write] = []
        for kind, at, condition, value, ttl in drawn[:1] if self.single else drawn:
            current = self.model.items.get(at)
            others: list[Stored] = list(self.model.items.values())
            cond: Any = {
                "none": None,
                "absent": If.ABSENT,
                "present": If.PRESENT,
                "current": current.etag if current is not None else self.stale[-1],
                "stale": self.stale[0],
                "other": others[0].etag if others else self.stale[-1],
            }[condition]
            if kind == "put":
                batch.append(Put(at, value, cond, ttl))
            elif kind == "delete":
                batch.append(Delete(at, None if cond is If.ABSENT else cond))
            else:
                batch.append(Check(at, If.PRESENT if cond in (None, If.ABSENT) else cond))
        self.sent.append(batch)
        return batch

    def _agree(self, batch: list[Write], outcome: Outcome) -> None:
        before = dict(self.model.items)
        failed = self.model.apply(batch)
        if failed:
            assert isinstance(outcome, ConflictError), f"{batch} was applied although {sorted(failed)} fail"
            assert set(outcome.keys) <= failed, f"the conflict names {outcome.keys} where {sorted(failed)} fail"
            assert outcome.keys
            for at, item in outcome.items.items():
                self._is(at, item, "the conflict")
        else:
            assert outcome is None, f"{batch} was refused with {outcome!r} although every condition holds"
        self.stale += [stored.etag for at, stored in before.items() if self.model.items.get(at) != stored]
