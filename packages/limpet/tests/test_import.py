"""Importing the library costs little: what a call needs is imported when it is called."""

from __future__ import annotations

import subprocess
import sys

import limpet
import pytest
from limpet._lazy import lazy

MOST = 8
"""Modules of ours: the front door, the errors, and what stands for a place that is being opened."""


def loaded_by(statement: str) -> set[str]:
    """The modules that a statement loads in a new interpreter, beside those that it starts with."""
    script = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement", ["import limpet", "from limpet import create_persistence, create_storage, ConflictError"]
)
def test_importing_limpet_loads_a_few_modules_and_no_package_of_others(statement: str) -> None:
    loaded = loaded_by(statement)
    ours = {name for name in loaded if name.split(".")[0] == "limpet"}
    assert 3 <= len(ours) <= MOST, sorted(ours)
    others = {name.split(".")[0] for name in loaded - ours}
    assert others <= sys.stdlib_module_names, sorted(others - sys.stdlib_module_names)
    assert "asyncio" not in loaded


def test_what_is_asked_for_is_loaded_then() -> None:
    assert "pydantic" in loaded_by("import limpet; limpet.Persistence")
    assert "limpet.stores._persistence" not in loaded_by("from limpet.stores import Storage")


def test_every_public_module_is_an_attribute_of_the_package() -> None:
    found = loaded_by("import limpet; limpet.driver.Put, limpet.stores.Retention, limpet.structures.Log, limpet.state")
    assert {"limpet.driver", "limpet.stores", "limpet.structures", "limpet.state"} <= found


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'limpet' has no attribute 'persistance'"):
        limpet.persistance  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'persistance'"):
        exec("from limpet import persistance")


def test_a_name_is_imported_once() -> None:
    import json

    find = lazy("json", {"JSONDecoder": ".decoder"})
    vars(json).pop("JSONDecoder", None)
    try:
        assert find("JSONDecoder") is json.decoder.JSONDecoder
        assert vars(json)["JSONDecoder"] is json.decoder.JSONDecoder
    finally:
        vars(json)["JSONDecoder"] = json.decoder.JSONDecoder
