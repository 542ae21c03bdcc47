"""Makes `toys` and `mutants` importable by the tests beside them, and by the processes that these start."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Memory is not shared with other processes: these tests are run on the toy that keeps a file."""
    items[:] = [
        item for item in items if "TestSharedMemory" not in item.nodeid or not item.get_closest_marker("processes")
    ]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    caught = [
        said
        for report in terminalreporter.stats.get("passed", [])
        for name, said in report.user_properties
        if name == "caught"
    ]
    if caught:
        terminalreporter.section(f"{len(caught)} mutants, each with the test that caught it")
        for said in sorted(caught):
            terminalreporter.line(said)
