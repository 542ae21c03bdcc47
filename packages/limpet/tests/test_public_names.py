"""The public doors: curated, alphabetical, true, and each with one path to every name."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import limpet
import pytest
from limpet import _errors

DOORS = [
    "limpet",
    "limpet.driver",
    "limpet.opening",
    "limpet.plugins",
    "limpet.records",
    "limpet.state",
    "limpet.stores",
    "limpet.structures",
    "limpet.sync",
    "limpet.wrappers",
]
ELSEWHERE_TOO = {"Persistence", "Storage", "Listing", "Page"}
"""In the front door and where they live. (`Page` of a driver is another class.)"""


@pytest.mark.parametrize("door", DOORS)
def test_all_is_alphabetical_and_true(door: str) -> None:
    module = importlib.import_module(door)
    assert list(module.__all__) == sorted(module.__all__, key=lambda each: (not each.isupper(), each)), (
        "constants first"
    )
    for each in module.__all__:
        found = getattr(module, each)
        if inspect.isclass(found) or inspect.isfunction(found):
            assert found.__doc__, f"{door}.{each} has no docstring"


@pytest.mark.parametrize("door", DOORS)
def test_every_door_opens_alone(door: str) -> None:
    script = f"import sys, {door}; print(*[m for m in ('sqlite3', 'redis', 'pymongo', 'asyncpg', 'typer', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_one_public_path_for_each_name() -> None:
    paths: dict[int, list[str]] = {}
    for door in DOORS:
        module = importlib.import_module(door)
        for each in module.__all__:
            found = getattr(module, each)
            if inspect.isclass(found) and each not in ELSEWHERE_TOO:
                paths.setdefault(id(found), []).append(f"{door}.{each}")
    assert [where for where in paths.values() if len(where) > 1] == []


def test_no_room_takes_from_a_private_module_of_another() -> None:
    source = Path(limpet.__file__).parent.parent
    taken = []
    for file in (source / "limpet").rglob("*.py"):
        here = ".".join(file.relative_to(source).parts[:-1])
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            base = ".".join(here.split(".")[: len(here.split(".")) - node.level + 1])
            names = [node.module] if node.module else [alias.name for alias in node.names]
            for name in names:
                room, _, module = f"{base}.{name}".rpartition(".")
                if module.startswith("_") and not f"{here}.".startswith(f"{room}."):
                    taken.append(f"{file.relative_to(source).as_posix()}: {room}.{module}")
    allowed = (
        "limpet/_errors.py: limpet.driver._types",  # an annotation of a floor below
        "limpet/driver/_memory.py: limpet.driver.kit.",  # the kit imports the driver package that it is part of
    )
    assert [each for each in taken if not each.startswith(allowed)] == []


def test_every_error_is_public_documented_and_in_the_tree() -> None:
    errors = [
        found for _, found in inspect.getmembers(_errors, inspect.isclass) if issubclass(found, limpet.LimpetError)
    ]
    assert len(errors) >= 20
    for error in errors:
        assert getattr(limpet, error.__name__) is error
        assert error.__doc__
        line = next(
            line for line in (_errors.__doc__ or "").splitlines() if f" {error.__name__}" in f" {line.strip('│├└─ ')}"
        )
        builtins = [base.__name__ for base in error.__bases__ if not issubclass(base, limpet.LimpetError)]
        for builtin in builtins:
            assert builtin in line or error is limpet.LimpetError


def test_messages_of_key_errors_are_shown_as_written() -> None:
    assert str(limpet.NotFoundError("there is no 'x'")) == "there is no 'x'"


def test_the_agentx_spelling_is_the_same_function() -> None:
    assert limpet.createPersistence is limpet.create_persistence
