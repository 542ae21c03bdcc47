"""The table of verbs: what reads and what writes, and that no wrapper lets a verb through unseen."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any, cast

import pytest
from limpet import ConfigurationError, create_persistence
from limpet.driver import VERBS, Append, Check, Driver, MemoryDriver, Outcome, Put, Unit, counter_key
from limpet.driver.kit import BaseDriver
from limpet.opening import OnDemand
from limpet.structures import OutOfLine
from limpet.wrappers import Batching, Cached, Compressed, Encrypted, ReadOnly, Traced, ValueWrapper, Wrapper

LIFE = {"open", "close", "is_open", "from_url", "capabilities"}
CONVENIENCES = {"apply", "append"}

PASSES_ON: dict[type[Any], set[str]] = {
    Batching: {"scan", "clear", "purge", "health", "watch"},  # joins calls that are made at once
    Cached: {"scan", "purge", "health", "watch"},  # scans are not cached, and what has expired is given to nobody
    ValueWrapper: {"purge", "health", "watch"},  # stores other values under the same keys
    Compressed: {"purge", "health", "watch"},
    Encrypted: {"purge", "health"},  # stores other values under other keys
    OutOfLine: {"clear", "purge", "health", "watch"},  # chunks of what is gone are freed by collect_garbage()
    ReadOnly: {"get", "scan", "watch"},
    Traced: {"watch"},
    OnDemand: set(),
}
"""The verbs that each wrapper delegates without a look, with the reason. Whatever is not here, it overrides."""


def overridden(wrapper: type[Driver]) -> set[str]:
    base = Wrapper if issubclass(wrapper, Wrapper) else Driver
    return {verb for verb in VERBS if getattr(wrapper, verb) is not getattr(base, verb)}


def test_the_table_names_every_verb() -> None:
    public = {name for name, value in vars(Driver).items() if not name.startswith("_") and callable(value)}
    assert public - LIFE - CONVENIENCES == set(VERBS)


def test_only_commit_and_the_cleaning_up_write() -> None:
    assert {verb for verb, does in VERBS.items() if does == "writes"} == {"commit", "clear", "purge"}


def test_every_wrapper_is_in_the_table() -> None:
    def below(found: type[Driver]) -> set[type[Driver]]:
        return {found, *(each for sub in found.__subclasses__() for each in below(sub))}

    ours = {
        found
        for found in below(Wrapper)
        if found.__module__.startswith("limpet.") and not found.__name__.startswith("_")
    }
    assert ours - {Wrapper} == {wrapper for wrapper in PASSES_ON if issubclass(wrapper, Wrapper)}


@pytest.mark.parametrize("wrapper", PASSES_ON, ids=lambda wrapper: wrapper.__name__)
def test_a_wrapper_overrides_what_the_table_says(wrapper: type[Driver]) -> None:
    assert set(VERBS) - overridden(wrapper) == PASSES_ON[wrapper]


@pytest.mark.parametrize("driver", [*PASSES_ON, Wrapper, BaseDriver, MemoryDriver], ids=lambda driver: driver.__name__)
def test_nobody_overrides_the_conveniences(driver: type[Driver]) -> None:
    for name in CONVENIENCES:
        assert inspect.getattr_static(driver, name) is inspect.getattr_static(Driver, name)
        assert getattr(getattr(Driver, name), "__final__", False)


class Heard(Wrapper):
    """What an audit plug-in hears."""

    writes: list[Unit]

    async def commit(self, units: list[Unit]) -> list[Outcome]:  # type: ignore[override]
        self.writes += units
        return await super().commit(units)


async def test_a_wrapper_that_overrides_commit_sees_every_write() -> None:
    driver = Heard(MemoryDriver())
    driver.writes = []
    async with driver:
        await driver.apply([Put("a", "1")])
        await driver.append(counter_key("a"), [Put("a!e", "x")], Check("a"))
        await driver.commit([[Put("b", "2")], Append(counter_key("b"), (Put("b!e", "y"),), Check("b"))])
        assert len(driver.writes) == 4
    async with create_persistence(heard := Heard(MemoryDriver()), batching=False) as persistence:
        heard.writes = []
        await persistence.sessions.save_session({"session_id": "s"})
        heard.writes.clear()
        for _ in range(5):
            await persistence.sessions.add_message("s", {"subtype": "user", "content": "x"})
        assert len(heard.writes) == 5
        heard.writes.clear()
        counts = persistence.kv(int, "counts")
        for n in range(20):
            await counts.set(str(n), n)
        assert len(heard.writes) == 20


@pytest.mark.parametrize("limit", ["max_value_bytes", "max_batch_bytes", "max_writes", "max_keys"])
async def test_a_driver_below_the_least_limits_is_refused_at_open(limit: str) -> None:
    class Small(MemoryDriver):
        capabilities = replace(MemoryDriver.capabilities, **cast("dict[str, Any]", {limit: 100}))

    driver = Small()
    with pytest.raises(ConfigurationError, match=f"declares {limit}=100, but every driver must take at least"):
        await driver.open()
    assert not driver.is_open
