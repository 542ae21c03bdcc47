"""No floor above the drivers asks a wall clock for a decision."""

from __future__ import annotations

import ast
from pathlib import Path

import limpet

SOURCE = Path(limpet.__file__).parent
DATA = {"records/_base.py": "stamps records for people"}
"""Where the clients' clock is read, and why nothing is decided by it."""


def asks_the_clock(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [alias.name for alias in node.names if alias.name in ("time", "time_ns", "gmtime", "localtime")]
        if (
            isinstance(node, ast.Attribute)
            and node.attr in ("now", "utcnow", "today", "time", "time_ns")
            and isinstance(node.value, ast.Name)
        ):
            found += [f"{node.value.id}.{node.attr}"] if node.value.id in ("time", "datetime", "date") else []
    return found


def test_only_the_drivers_and_the_stamps_of_records_read_it() -> None:
    readers = {
        str(file.relative_to(SOURCE).as_posix())
        for file in SOURCE.rglob("*.py")
        if asks_the_clock(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert readers == {"driver/kit/_clock.py", *DATA}


def test_the_lint_sees_a_clock() -> None:
    for code in (
        "import time\ntime.time()",
        "from time import time_ns",
        "from datetime import datetime\ndatetime.now()",
    ):
        assert asks_the_clock(ast.parse(code))
    assert not asks_the_clock(ast.parse("from time import monotonic\nmonotonic()"))
