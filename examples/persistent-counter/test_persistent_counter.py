"""The counter is killed and started again, as its README says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("persistent_counter.py")


@pytest.fixture(params=["sqlite:///", "fs://"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}{(tmp_path / 'counter').as_posix()}"


@contextmanager
def running(url: str) -> Iterator[Iterator[tuple[str, int]]]:
    """What the counter says, line by line; it is killed at the end, without a warning."""
    command = [sys.executable, str(SCRIPT), url, "--every", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield (_read(line) for line in process.stdout)
        finally:
            process.kill()


def _read(line: str) -> tuple[str, int]:
    what, _, state = line.partition(": ")
    return what, json.loads(state)["value"]


def test_it_goes_on_where_it_was_killed(url: str) -> None:
    last = 0
    for _ in range(3):
        with running(url) as lines:
            what, previous = next(lines)
            assert what == "Previous state"
            assert previous in (last, last + 1), "what it said is saved; the step it was at may be"
            for n in range(1, 6):
                assert next(lines) == ("Updated state", previous + n)
            last = previous + 5


def test_two_of_them_count_one_counter(url: str) -> None:
    with running(url) as one, running(url) as other:
        assert {next(one)[0], next(other)[0]} == {"Previous state"}
        seen = [value for _ in range(10) for _, value in (next(one), next(other))]
    assert len(set(seen)) == 20, "no step was lost"
