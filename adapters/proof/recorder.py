"""A pytest plug-in that writes the outcome of every test as JSON to the file that `LIMPET_PROOF_RECORD` names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

_OUTCOMES: dict[str, str] = {}
_WORST = {"passed": 0, "skipped": 1, "xfailed": 1, "failed": 2}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    outcome = "xfailed" if hasattr(report, "wasxfail") and report.outcome != "failed" else report.outcome
    if report.when == "call" or outcome != "passed":
        before = _OUTCOMES.get(report.nodeid, "passed")
        _OUTCOMES[report.nodeid] = max(before, outcome, key=_WORST.__getitem__)


def pytest_sessionfinish() -> None:
    Path(os.environ["LIMPET_PROOF_RECORD"]).write_text(json.dumps(_OUTCOMES))
