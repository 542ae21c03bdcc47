"""`python -m proof ADAPTER [DATABASE ...]`: see the package."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from limpet_conformance.servers import running
from rich.console import Console
from rich.table import Table

from proof._archives import unpacked
from proof._description import DATABASES, Suite, suites_of

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".nox/archives"
Row: TypeAlias = tuple[Suite, str, int, Counter[str]]
SERVERS = {"redis": "base", "postgresql": "schema", "mysql": "table"}
"""The option that makes a place of one's own on a server."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("databases", nargs="*", choices=[*DATABASES, []])
    parser.add_argument("--page", type=Path, help="the page whose table of results is to be written anew")
    parser.add_argument("--write", action="store_true", help="write the lists of tests that must pass anew")
    options = parser.parse_args()
    table = Table("suite", "database", "must pass", "passed", "failed", "left out")
    wrong: list[str] = []
    rows: list[Row] = []
    for suite in suites_of(options.adapter.resolve()):
        passing: list[set[str]] = []
        for database in [each for each in options.databases or suite.databases if each in suite.databases]:
            outcomes = run(suite, database)
            passed = {test for test, outcome in outcomes.items() if outcome == "passed"}
            passing.append(passed)
            counts = Counter(outcomes.values())
            must = passed if options.write else suite.must_pass()
            missing = sorted(must - passed)
            wrong += [f"{suite.name} on {database}: {test} {outcomes.get(test, 'is not there')}" for test in missing]
            beyond = len(passed - must)
            found = f"{counts['passed']}" + (f" ({beyond} beyond the list)" if beyond else "")
            table.add_row(suite.name, database, str(len(must)), found, str(counts["failed"]), str(counts["skipped"]))
            rows.append((suite, database, len(must), counts))
        if options.write:
            lines = "\n".join(sorted(set.intersection(*passing)))
            suite.expectations.parent.mkdir(parents=True, exist_ok=True)
            suite.expectations.write_text(f"{lines}\n")
    if options.page is not None:
        put_on_page(options.page, rows)
    console = Console()
    console.print(table)
    for line in wrong:
        console.print(line, style="red", soft_wrap=True)
    return 1 if wrong else 0


def put_on_page(page: Path, rows: list[Row]) -> None:
    """Write the results behind the mark of the page."""
    lines = ["| tests | database | must pass | pass | fail | left out |", "| --- | --- | --- | --- | --- | --- |"]
    for suite, database, must, counts in rows:
        tests = suite.title or ", ".join(f"`{each}`" for each in suite.tests)
        lines.append(
            f"| {tests} | {database} | {must} | {counts['passed']} | {counts['failed']} | {counts['skipped']} |"
        )
    text = page.read_text()
    mark = text.index("<!-- proof")
    end = text.index("\n", mark) + 1
    page.write_text(text[:end] + "\n" + "\n".join(lines) + "\n")


def run(suite: Suite, database: str) -> dict[str, str]:
    """The outcome of each test."""
    home = suite.folder / suite.within if suite.archive is None else unpacked(suite.archive, CACHE)
    with TemporaryDirectory() as work:
        record = Path(work) / "record.json"
        plugins = ["-p", "proof.recorder", *(["-p", suite.plugin] if suite.plugin else [])]
        path = [str(HERE.parent), str(suite.folder / "proof"), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            **suite.environment,
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "LIMPET_PROOF_RECORD": str(record),
            "LIMPET_PROOF_DATABASE": database,
            "LIMPET_PROOF_FOLDER": work,
        }
        plain = database.removeprefix("encrypted+")
        if plain in SERVERS:
            environment["LIMPET_PROOF_SERVER"] = running(plain).url
            environment["LIMPET_PROOF_OPTION"] = SERVERS[plain]
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *plugins]
        done = subprocess.run([*command, *suite.tests], cwd=home, env=environment, check=False)
        if not record.exists():
            raise SystemExit(f"the tests {suite.name} did not run: pytest ended with {done.returncode}")
        outcomes: dict[str, str] = json.loads(record.read_text())
        return outcomes


if __name__ == "__main__":
    sys.exit(main())
