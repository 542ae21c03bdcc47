"""What an encrypted place asks to prove its writes is counted in `test_encrypted_counts.py`, and nowhere else."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _proofs(request: pytest.FixtureRequest) -> None:
    if request.path.name != "test_encrypted_counts.py":
        request.getfixturevalue("proofs_apart")
