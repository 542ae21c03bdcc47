"""`limpet.sync` is what the generator writes, has everything that the asynchronous API has, and shows its types."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_overloads

import pytest
from limpet import state, stores, sync
from limpet.driver import Driver
from limpet.stores import records

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_sync", ROOT / "scripts/generate_sync.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_what_is_committed_is_what_the_generator_writes(generator: ModuleType) -> None:
    pytest.importorskip("ruff", reason="the generator's output is formatted by ruff")
    stale = [
        file.name
        for file, text in generator.generated().items()
        if file.read_text(encoding="utf-8") != generator.formatted(text, file.name)
    ]
    assert stale == [], "write them anew: python scripts/generate_sync.py"


ASYNCHRONOUS: list[Any] = [
    Driver,
    records.AgentState,
    records.StateHistory,
    state.StatefulAgent,
    *(getattr(stores, name) for name in stores.__all__ if hasattr(sync, name)),
]


def test_every_store_is_there() -> None:
    values = {
        "DeadLetter",
        "Event",
        "FORMATS",
        "KeyValueEntry",
        "Lineage",
        "Meta",
        "NewEntry",
        "Recovered",
        "Retention",
        "RetentionPolicies",
        "RetentionReport",
    }
    assert {each for each in stores.__all__ if not hasattr(sync, each)} == {*values, "NewThread", "ThreadStats"}, (
        "records are shared"
    )
    assert len(ASYNCHRONOUS) == 21


@pytest.mark.parametrize("kind", ASYNCHRONOUS, ids=lambda kind: kind.__name__)
def test_every_public_method_is_there_with_its_arguments(kind: type, generator: ModuleType) -> None:
    face = getattr(sync, kind.__name__)
    internal = generator.INTERNAL.get(kind.__name__, set()) | generator.INTERNAL_EVERYWHERE
    seen = 0
    for name, method in inspect.getmembers(kind):
        if name.startswith("_") or name in internal or name == "aclose":
            continue
        seen += 1
        found = getattr(face, name)
        if not inspect.isfunction(method):
            continue
        theirs, ours = inspect.signature(method), inspect.signature(found)
        assert list(ours.parameters) == list(theirs.parameters), name
        for each in theirs.parameters.values():
            assert ours.parameters[each.name].kind is each.kind
            assert ours.parameters[each.name].default == each.default
        assert found.__doc__, name
        assert "await" not in found.__doc__, name
        assert not inspect.iscoroutinefunction(found), name
    assert seen or kind is stores.Upkeep


def test_overloads_are_kept() -> None:
    assert len(get_overloads(sync.Persistence.kv)) == 2


def test_functions_take_the_same() -> None:
    import limpet
    from limpet import events

    for name in (
        "create_persistence",
        "create_persistence_from_env",
        "create_storage",
        "open_persistence",
        "open_storage",
    ):
        assert list(inspect.signature(getattr(sync, name)).parameters) == list(
            inspect.signature(getattr(limpet, name)).parameters
        )
    assert list(inspect.signature(sync.create_queue).parameters) == list(
        inspect.signature(events.create_queue).parameters
    )
