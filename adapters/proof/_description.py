"""What `proof.toml` says."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["DATABASES", "Suite", "suites_of"]

DATABASES = ("memory", "sqlite", "fs", "redis", "postgresql", "mysql", "encrypted+sqlite")
"""What every adapter is proven on."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Some tests of one archive."""

    name: str
    tests: list[str]
    """Files, or arguments of pytest, from the archive's folder; without an archive, from a folder of the adapter."""
    folder: Path
    """The adapter's."""
    title: str | None = None
    """What the page calls them, unless it lists them."""
    archive: str | None = None
    """Like `openai-agents==0.24.0`."""
    within: str = "proof"
    """That folder: `tests` for the adapter's own tests, which ask for the fixture `database`."""
    plugin: str | None = None
    """A module in `proof/` of the adapter that puts ours in the place of theirs."""
    expected: str | None = None
    """The list of tests that must pass, in `proof/expected`; `<name>.txt` unless it says otherwise."""
    databases: list[str] = field(default_factory=lambda: list(DATABASES))
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def expectations(self) -> Path:
        """The file with that list."""
        return self.folder / "proof/expected" / (self.expected or f"{self.name}.txt")

    def must_pass(self) -> set[str]:
        """The tests that must pass, each a line of its list."""
        lines = self.expectations.read_text().splitlines()
        return {line for line in lines if line and not line.startswith("#")}


def suites_of(folder: Path) -> list[Suite]:
    """The suites of an adapter."""
    described = tomllib.loads((folder / "proof.toml").read_text())
    return [Suite(name=name, folder=folder, **said) for name, said in described.items()]
