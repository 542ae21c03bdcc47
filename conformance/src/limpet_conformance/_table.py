"""Reports as a table for a page: one line per suite, with what was found, not what was hoped for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ._report import SuiteReport

__all__ = ["BEGIN", "END", "table", "write_table"]

BEGIN, END = "<!-- conformance table -->", "<!-- end of the conformance table -->"
_SURVIVES = {"no": "nothing", "process": "the process", "disk": "a loss of power"}
_MIB = 1024 * 1024
_FOLDERS = re.compile(r"(?<=program )\S*/")
"""The folder of a program on this machine means nothing to a reader."""


def table(suites: Iterable[SuiteReport]) -> str:
    """Return Markdown, with the suites in the order of their drivers and servers."""
    rows: list[tuple[str, ...]] = [
        ("driver", "on", "from", "tests", "atomic", "an acknowledged write survives", "shared", "`watch`",
         "numbers of a log", "a value, a batch at most", "writes in a batch"),
    ]  # fmt: skip
    rows += sorted({_row(suite) for suite in suites})
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]]) + "\n"


def write_table(suites: Iterable[SuiteReport], page: Path) -> None:
    """Put the table between the page's markers. Raises `ValueError` if it has none."""
    text = page.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no markers for the table: add {BEGIN} and {END} on separate lines")
    page.write_text(f"{before}{BEGIN}\n{table(suites)}{END}{after}", "utf-8")


def _row(suite: SuiteReport) -> tuple[str, ...]:
    can, counts = suite.capabilities, suite.counts
    outcome = f"all {counts['passed']}" if suite.conforms else f"{counts['passed']}"
    outcome += "".join(f", **{counts[word]} {word}**" for word in ("failed", "not tested") if counts.get(word))
    outcome += "".join(f", {counts[word]} {word}" for word in ("not declared", "xfail") if counts[word])
    return (
        suite.facts.get("driver", suite.suite),
        " ".join(suite.facts.get(fact, "") for fact in ("server", "version")).strip(),
        _FOLDERS.sub("", suite.facts.get("origin", "")),
        outcome,
        "whole batches" if can["atomic"] == "batch" else "one write",
        _SURVIVES[can["durable"]],
        _yes(can["shared"]),
        _yes(can["watch"]),
        "by the backend" if can["append"] else "by compare-and-set",
        f"{can['max_value_bytes'] // _MIB} MiB, {can['max_batch_bytes'] // _MIB} MiB",
        f"{can['max_writes']:,}",
    )


def _yes(said: object) -> str:
    return "yes" if said else "no"
