"""The committed table says what happened on every server for every fault."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/inside/faults.md"


def test_the_table_has_no_empty_cell(faults: dict[str, str], place: dict[str, str]) -> None:
    text = PAGE.read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ") and "**" in line]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in rows] == [f"**{title}**" for title in faults.values()]
    for row in rows:
        assert len(row) == len(place) + 1
        assert all(row), "nobody knows what happened there: run nox -s faults"
