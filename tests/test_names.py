"""One word for each thing: docs/design.md has the table of names, and the words that are not used for them."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/design.md"
CORE = ROOT / "packages/limpet/src/limpet"
EVERYWHERE = [*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("conformance/src/**/*.py")]
UPPER = [
    *(module for floor in ("opening", "records", "stores", "structures") for module in (CORE / floor).rglob("*.py")),
    *(CORE / f"{module}.py" for module in ("_create", "events", "profiles", "state")),
]
LONGEST = 400
"""Lines of a file that can still be read in one go."""


def tables() -> list[set[str]]:
    """The words of the last column of each table under the heading "Names"."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## Names\n")[2].partition("\n## ")[0]
    found = []
    for table in re.split(r"\n(?!\|)", section):
        rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("|")]
        if rows:
            found.append({word.strip() for row in rows[2:] for word in row[-1].split(",") if word.strip()})
    return found


def words(source: str) -> Iterator[tuple[str, int, str]]:
    """Every word of every identifier, with its line and the identifier."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", token.string):
                yield word.lower(), token.start[0], token.string


def uses(modules: list[Path], forbidden: set[str]) -> list[str]:
    return [
        f"{module.relative_to(ROOT).as_posix()}:{line}: {identifier}"
        for module in modules
        for word, line, identifier in words(module.read_text(encoding="utf-8"))
        if word in forbidden
    ]


def test_the_table_is_there() -> None:
    everywhere, upper = tables()
    assert {"sweep", "holder", "dispose"} <= everywhere
    assert {"told", "place"} <= upper


@pytest.mark.parametrize(("which", "modules"), [(0, EVERYWHERE), (1, UPPER)], ids=["all packages", "the upper floors"])
def test_no_identifier_has_another_word_for_it(which: int, modules: list[Path]) -> None:
    assert modules
    assert uses(modules, tables()[which]) == []


def test_a_word_is_found_wherever_it_stands_in_an_identifier() -> None:
    source = "class LeaseHolder:\n    _old_holder = HOLDER = 1  # holder\n"
    assert [line for word, line, _ in words(source) if word == "holder"] == [1, 2, 2]


@pytest.mark.parametrize("pattern", ["packages/*/src/**/*.py", "conformance/src/**/*.py"])
def test_no_file_is_too_long(pattern: str) -> None:
    lengths = {
        file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8").count("\n") for file in ROOT.glob(pattern)
    }
    assert lengths
    assert {file: lines for file, lines in lengths.items() if lines > LONGEST} == {}
