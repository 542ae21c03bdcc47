"""What an import did, and what it does about records that differ."""

from __future__ import annotations

from dataclasses import dataclass, field

from ._choices import OnConflict

__all__ = ["ImportReport", "Tally"]

_NAMED = 100


@dataclass(slots=True)
class ImportReport:
    """What an import did, or with `dry_run` would do. Every message is a record of its own."""

    added: int = 0
    equal: int = 0
    """Records that were there already."""
    skipped: int = 0
    """Records in the file that were left out, because the database holds something else."""
    replaced: int = 0
    """Records in the database that gave way to those in the file."""
    conflicts: list[str] = field(default_factory=list)
    """The first hundred records that differ."""


@dataclass(slots=True)
class Tally:
    """Counts for a report, and decides about conflicts."""

    on_conflict: OnConflict
    report: ImportReport = field(default_factory=ImportReport)

    def conflict(self, called: str) -> bool:
        """Note a record that is there and different; return whether the one in the file replaces it."""
        if len(self.report.conflicts) < _NAMED:
            self.report.conflicts.append(called)
        if self.on_conflict == "replace":
            self.report.replaced += 1
            return True
        self.report.skipped += 1
        return False
