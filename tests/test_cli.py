"""The command line, as a user runs it: in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from limpet.driver import Put, Range
from limpet.opening import driver_from_url


def limpet(*arguments: str, folder: Path, given: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "limpet.cli", *arguments]
    return subprocess.run(command, cwd=folder, input=given, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(params=["sqlite:///a.db", pytest.param("fs://./a", marks=pytest.mark.again)])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_items(place: str, tmp_path: Path) -> None:
    assert limpet("set", place, "users:alice", '{"plan": "pro"}', folder=tmp_path).returncode == 0
    assert limpet("set", place, "b", "123", "--text", "--ttl", "60", folder=tmp_path).returncode == 0
    assert limpet("set", place, "c", "-", folder=tmp_path, given="[1, 2]").returncode == 0
    assert json.loads(limpet("get", place, "users:alice", folder=tmp_path).stdout) == {"plan": "pro"}
    assert json.loads(limpet("get", place, "b", folder=tmp_path).stdout) == "123"
    meta = json.loads(limpet("get", place, "b", "--meta", folder=tmp_path).stdout)
    assert 0 < meta["ttl"] <= 60
    assert limpet("ls", place, folder=tmp_path).stdout.split() == ["b", "c", "users:alice"]
    assert json.loads(limpet("ls", place, "users", "--json", folder=tmp_path).stdout) == ["users:alice"]
    assert "manifest" in json.loads(limpet("ls", place, "--all", "--json", folder=tmp_path).stdout)
    cut = limpet("ls", place, "--limit", "1", folder=tmp_path)
    assert cut.stdout.split() == ["b"]
    assert "more than 1" in cut.stderr
    assert limpet("rm", place, "b", folder=tmp_path).stdout == "removed 1\n"
    assert limpet("rm", place, "b", folder=tmp_path).returncode == 1
    assert limpet("rm", place, "--below", "", "--yes", folder=tmp_path).stdout == "removed 2\n"


def test_errors_are_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    bad = limpet("set", "sqlite:///a.db", "a", "foo", folder=tmp_path)
    assert bad.returncode == 1
    assert "--text" in bad.stderr
    missing = limpet("get", "sqlite:///a.db", "a", folder=tmp_path)
    assert (missing.returncode, missing.stdout) == (1, "")
    extra = limpet("ls", "oracle://user:hunter2@localhost", folder=tmp_path)
    assert extra.returncode == 1
    assert "hunter2" not in extra.stdout + extra.stderr
    assert "Traceback" not in extra.stderr
    assert limpet("rm", "sqlite:///a.db", folder=tmp_path).returncode == 2


@pytest.mark.parametrize("command", [["ls"], ["get", "a"], ["rm", "a"], ["stats"]], ids=lambda command: command[0])
def test_a_mistyped_address_is_named_and_nothing_is_written_there(command: list[str], tmp_path: Path) -> None:
    verb, *rest = command
    for _ in range(2):  # it is as new as before
        done = limpet(verb, "sqlite:///no-such.db", *rest, folder=tmp_path)
        assert done.returncode == 1
        assert "check the URL" in done.stderr


def test_stats_and_doctor(place: str, tmp_path: Path) -> None:
    limpet("set", place, "a", '"é"', folder=tmp_path)
    stats = json.loads(limpet("stats", place, "--json", folder=tmp_path).stdout)
    assert stats["plain items"] == {"items": 1, "bytes": 4}
    assert "plain items" in limpet("stats", place, folder=tmp_path).stdout
    well = limpet("doctor", place, folder=tmp_path)
    assert well.returncode == 0, well.stdout
    assert "healthy" in well.stdout
    report = json.loads(limpet("doctor", place, "--json", folder=tmp_path).stdout)
    assert report["problems"] == []
    assert report["read_ms"] > 0
    assert report["write_ms"] is None, "it only looks"
    assert json.loads(limpet("doctor", place, "--json", "--probe", folder=tmp_path).stdout)["write_ms"] > 0


def test_doctor_finds_a_damaged_index_and_mends_it_when_it_is_asked_to(tmp_path: Path) -> None:
    script = (
        "import asyncio\nfrom limpet import create_persistence\n"
        "async def main():\n"
        "    async with create_persistence('sqlite:///a.db') as p:\n"
        "        await p.images.save_image({'imageId': 'i', 'containerId': 'c', 'sessionId': 's'})\n"
        "        await p.driver.clear('images.by')\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    for _ in range(2):
        sick = limpet("doctor", "sqlite:///a.db", folder=tmp_path)
        assert sick.returncode == 1
        assert "3 index entries are missing" in sick.stdout
        assert "limpet doctor --repair" in " ".join(sick.stdout.split())
    mended = limpet("doctor", "sqlite:///a.db", "--repair", folder=tmp_path)
    assert mended.returncode == 1
    assert "3 index entries were missing" in mended.stdout
    assert limpet("doctor", "sqlite:///a.db", folder=tmp_path).returncode == 0


async def test_doctor_writes_nothing(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    limpet("set", place, "a", "1", folder=tmp_path)
    async with driver_from_url(place) as driver:
        await driver.apply([Put("images.by!name!@c!@n!@i", "i")])  # an entry of a record that is not there
        before = (await driver.scan(Range())).items
        assert limpet("doctor", place, folder=tmp_path).returncode == 1
        assert (await driver.scan(Range())).items == before


def test_doctor_makes_no_place(tmp_path: Path) -> None:
    for url in ("sqlite:///no-such.db", "fs://./no-such"):
        done = limpet("doctor", url, folder=tmp_path)
        assert done.returncode == 1
        assert "never written" in done.stderr


def test_drivers(tmp_path: Path) -> None:
    rows = json.loads(limpet("drivers", "--json", folder=tmp_path).stdout)
    assert {"memory", "sqlite", "fs"} <= {row["scheme"] for row in rows}
    assert "sqlite://" in limpet("drivers", folder=tmp_path).stdout


def test_the_demo_survives_its_own_murder(place: str, tmp_path: Path) -> None:
    shown = limpet("demo", "--url", place, folder=tmp_path)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "60 messages" in shown.stdout


def test_help_names_every_command(tmp_path: Path) -> None:
    shown = limpet("--help", folder=tmp_path).stdout
    for command in ("demo", "drivers", "doctor", "stats", "ls", "get", "set", "rm", "conformance"):
        assert command in shown
        assert limpet(command, "--help", folder=tmp_path).returncode == 0
