"""Random rounds on files and in memory, with one clock: the same verdicts and the same items."""

import asyncio
import tempfile
from dataclasses import replace
from typing import Any, Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from limpet._errors import ConflictError
from limpet.driver import (
    KEEP,
    Append,
    Check,
    Delete,
    Etag,
    If,
    Item,
    MemoryDriver,
    Outcome,
    Put,
    Range,
    Unit,
    counter_key,
    key,
    name,
    text,
)
from limpet_drivers.fs import FsDriver

KEYS = [
    key(name("kv"), *(text(part) for part in parts))
    for parts in [("a",), ("A",), ("a", "b"), ("a.json",), ("a", "b", "c"), ("0" * 16,), ("",)]
] + [key(name("kv")), key(name("kv2"), text("a")), key(text("a"))]
VALUES: st.SearchStrategy[str | bytes] = st.sampled_from(
    ["", "text", '{"a":1}', '{"a": 1}', "5", b"", b'{"a":1}', "x" * 3000]
)
TTLS = st.sampled_from([None, None, KEEP, 1, 50, 100_000])


class Twins(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.files = self.new_files()
        self.memory = MemoryDriver(clock=lambda: self.now)
        self.run(self.files.open())
        self.run(self.memory.open())

    def new_files(self) -> FsDriver:
        return FsDriver(self.folder.name, clock=lambda: self.now)

    def run(self, units: Any) -> Any:
        return self.runner.run(units)

    def teardown(self) -> None:
        self.run(self.files.close())
        self.runner.close()
        self.folder.cleanup()

    @rule(data=st.data(), size=st.integers(1, 4))
    def batches(self, data: st.DataObject, size: int) -> None:
        units: list[Unit] = []
        for _ in range(size):
            chosen = data.draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True))
            units.append([self.write(data, one) for one in chosen])
        self.both(units)

    def write(self, data: st.DataObject, one: str) -> Put | Delete | Check:
        item: Item | None = self.run(self.memory.get([one]))[0]
        etags = [] if item is None else [item.etag]
        kind = data.draw(st.sampled_from(["put", "put", "put", "delete", "check"]))
        if kind == "put":
            conds: list[If | Etag | None] = [None, None, If.ABSENT, If.PRESENT, *etags]
            return Put(one, data.draw(VALUES), data.draw(st.sampled_from(conds)), data.draw(TTLS))
        asked: list[Literal[If.PRESENT] | Etag] = [If.PRESENT, *etags]
        cond = data.draw(st.sampled_from(asked))
        return Delete(one, data.draw(st.sampled_from([None, cond]))) if kind == "delete" else Check(one, cond)

    @rule(count=st.integers(1, 3))
    def append(self, count: int) -> None:
        entry = key(name("log"), text("s"), name("e"))
        self.both(
            [
                Append(
                    counter_key(key(name("log"), text("s"))),
                    tuple(Put(entry, "x") for _ in range(count)),
                    Check(KEYS[0]),
                )
            ]
        )

    @rule(ms=st.sampled_from([1, 49, 50, 1000]))
    def wait(self, ms: int) -> None:
        self.now += ms

    @rule()
    def reopen(self) -> None:
        self.run(self.files.close())
        self.files = self.new_files()
        self.run(self.files.open())

    @rule()
    def another(self) -> None:
        """The next calls come from another driver, which has to learn what the first one did."""
        old, self.files = self.files, self.new_files()
        self.run(self.files.open())
        self.run(old.close())

    @rule()
    def checkpoint(self) -> None:
        self.run(self.files._thread.run(self.files._checkpoints.finish))

    @rule()
    def purge(self) -> None:
        self.run(self.files.purge())
        self.run(self.memory.purge())

    def both(self, units: list[Unit]) -> None:
        on_files, in_memory = (self.run(driver.commit(units)) for driver in (self.files, self.memory))
        assert [outcome(one) for one in on_files] == [outcome(one) for one in in_memory]

    @invariant()
    def same(self) -> None:
        on_files, in_memory = (
            self.run(driver.scan(Range("", limit=1000))).items for driver in (self.files, self.memory)
        )
        assert [seen(item) for item in on_files] == [seen(item) for item in in_memory]
        got = [self.run(driver.get(KEYS)) for driver in (self.files, self.memory)]
        assert got[0] == got[1]


def outcome(outcome: Outcome) -> object:
    if isinstance(outcome, ConflictError):
        return sorted(outcome.keys), dict(outcome.items)
    return outcome


def seen(item: Item) -> Item:
    # A log's counter gets a fresh etag from whoever assigns the numbers.
    return replace(item, etag=Etag("")) if item.key == counter_key(key(name("log"), text("s"))) else item


Twins.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestTwins = Twins.TestCase
