"""A pytest plug-in for tests of our own: the fixture `database` is an empty database, in turn of each kind that is asked for.

Those are memory and sqlite, or the one that `python -m proof` runs the tests on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from limpet import Persistence, open_persistence

from proof.places import place, wrappers

__all__ = ["Database", "database"]


@dataclass(frozen=True)
class Database:
    """An empty database. Open it any number of times."""

    url: str
    wrappers: Sequence[Any]

    @property
    def is_kept(self) -> bool:
        """Whether what was written is there when it is opened again."""
        return not self.url.startswith("memory:")

    def open(self) -> Persistence:
        """The stores, which the test closes."""
        return open_persistence(self.url, wrappers=list(self.wrappers))


PROVEN = os.environ.get("LIMPET_PROOF_DATABASE")


@pytest.fixture(params=["memory", "sqlite"] if PROVEN is None else ["proof"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    if PROVEN is None:
        monkeypatch.setenv("LIMPET_PROOF_DATABASE", request.param)
        monkeypatch.setenv("LIMPET_PROOF_FOLDER", str(tmp_path))
    return Database(place(), wrappers())
