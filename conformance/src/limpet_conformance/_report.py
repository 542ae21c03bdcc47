"""The results of a run of the suite: four words, none of which hides anything."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

__all__ = ["Outcome", "Report", "SuiteReport", "Word"]

Word: TypeAlias = Literal["passed", "failed", "not declared", "xfail", "not tested"]
"""The result of one test. `not tested` means that the author's own skip kept it from running."""

WORDS: tuple[Word, ...] = ("passed", "failed", "not declared", "xfail")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test."""

    test: str
    section: str
    word: Word
    reason: str = ""
    """Which capability is not declared, why a failure is expected, or the last line of a failure."""


@dataclass(slots=True)
class SuiteReport:
    """One subclass of `DriverConformance`."""

    suite: str
    facts: dict[str, str] = field(default_factory=dict)
    """`driver`; `server` and `version` from `health()`; and `origin`, where the server came from, if noted."""
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def counts(self) -> dict[Word, int]:
        """Return how many tests ended with each word."""
        counted = Counter(outcome.word for outcome in self.outcomes)
        words: tuple[Word, ...] = (*WORDS, "not tested") if counted["not tested"] else WORDS
        return {word: counted[word] for word in words}

    @property
    def conforms(self) -> bool:
        """Whether nothing failed, nothing was left out manually, and something passed."""
        counts = self.counts
        return bool(counts["passed"]) and not counts["failed"] and not counts.get("not tested")

    def lines(self) -> Iterable[str]:
        """Return lines for the terminal."""
        of = self.facts.get("driver", "no driver was opened")
        server = " ".join(self.facts[fact] for fact in ("server", "version") if fact in self.facts)
        origin = f" ({self.facts['origin']})" if "origin" in self.facts else ""
        yield f"{self.suite}: {of}{' on ' + server if server else ' (health was not asked)'}{origin}"
        yield "  " + ", ".join(f"{count} {word}" for word, count in self.counts.items())
        for word in ("not declared", "xfail", "failed", "not tested"):
            grouped: dict[str, list[str]] = {}
            for outcome in self.outcomes:
                if outcome.word == word:
                    grouped.setdefault(outcome.reason, []).append(outcome.test)
            for reason, tests in sorted(grouped.items()):
                shown = f"{len(tests)} tests" if word == "not declared" and len(tests) > 1 else ", ".join(tests)
                yield f"  {word}: {shown}{': ' + reason if reason else ''}"

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {
            "suite": self.suite,
            "driver": self.facts.get("driver"),
            "server": self.facts.get("server"),
            "version": self.facts.get("version"),
            "origin": self.facts.get("origin"),
            "conforms": self.conforms,
            "capabilities": dict(self.capabilities),
            "counts": self.counts,
            "tests": [
                {"test": outcome.test, "section": outcome.section, "outcome": outcome.word, "reason": outcome.reason}
                for outcome in sorted(self.outcomes, key=lambda outcome: (outcome.section, outcome.test))
            ],
        }


@dataclass(slots=True)
class Report:
    """Every suite of one run."""

    suites: dict[str, SuiteReport] = field(default_factory=dict)

    def add(self, suite: str, outcome: Outcome, facts: Mapping[str, str], capabilities: Mapping[str, Any]) -> None:
        """Add the outcome of one test."""
        report = self.suites.setdefault(suite, SuiteReport(suite))
        report.facts |= facts
        report.capabilities = dict(capabilities)
        report.outcomes.append(outcome)

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        suites = [report.as_dict() for _, report in sorted(self.suites.items())]
        path.write_text(json.dumps({"format": 1, "suites": suites}, indent=2, ensure_ascii=False) + "\n", "utf-8")
