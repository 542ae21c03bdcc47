"""The command line on encrypted places."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from limpet import create_persistence
from limpet.driver import Put, Range
from limpet.opening import driver_from_url
from limpet.wrappers import encrypted


def limpet(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "limpet.cli", *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(params=["sqlite:///a.db", pytest.param("fs://./a", marks=pytest.mark.again)])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_keygen_prints_a_key_or_writes_one_once(tmp_path: Path) -> None:
    first, second = (limpet("keygen", folder=tmp_path).stdout for _ in range(2))
    assert re.fullmatch("[0-9a-f]{64}\n", first)
    assert first != second
    file = tmp_path / "key"
    made = limpet("keygen", "--out", "key", folder=tmp_path)
    assert made.returncode == 0
    written = file.read_text()
    assert re.fullmatch("[0-9a-f]{64}\n", written)
    assert written.strip() not in made.stdout + made.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = limpet("keygen", "--out", "key", folder=tmp_path)
    assert again.returncode == 1
    assert "exists" in again.stderr
    assert file.read_text() == written
    nowhere = limpet("keygen", "--out", "no/such/folder/key", folder=tmp_path)
    assert nowhere.returncode == 1
    assert "Traceback" not in nowhere.stderr


def test_commands_take_the_key_from_the_environment(place: str, tmp_path: Path) -> None:
    limpet("keygen", "--out", "key", folder=tmp_path)
    key = {"LIMPET_ENCRYPTION_KEY_FILE": "key"}
    assert limpet("set", place, "users:alice", '"secret"', folder=tmp_path, **key).returncode == 0
    assert limpet("get", place, "users:alice", folder=tmp_path, **key).stdout == '"secret"\n'
    assert limpet("ls", place, folder=tmp_path, **key).stdout == "users:alice\n"
    assert json.loads(limpet("stats", place, "--json", folder=tmp_path, **key).stdout)["plain items"]["items"] == 1
    well = limpet("doctor", place, folder=tmp_path, **key)
    assert well.returncode == 0, well.stdout + well.stderr
    for command in (["get", place, "users:alice"], ["ls", place], ["doctor", place], ["rotate", place]):
        keyless = limpet(*command, folder=tmp_path)
        assert (keyless.returncode, keyless.stdout) == (1, "")
        assert "set LIMPET_ENCRYPTION_KEY" in keyless.stderr
        assert "encrypted()" not in keyless.stderr, "no Python for who typed a command"
        wrong = limpet(*command, folder=tmp_path, LIMPET_ENCRYPTION_KEY="00" * 32)
        assert (wrong.returncode, wrong.stdout) == (1, "")
        assert "was not encrypted with this key" in wrong.stderr
    (tmp_path / "key").write_text((tmp_path / "key").read_text()[:32])
    cut = limpet("ls", place, folder=tmp_path, **key)
    assert cut.returncode == 1
    assert "has 32 characters and is not a key" in cut.stderr


def test_a_key_and_a_plain_place_do_not_go_together(place: str, tmp_path: Path) -> None:
    assert limpet("set", place, "a", "1", folder=tmp_path).returncode == 0
    for command in (["get", place, "a"], ["set", place, "b", "2"], ["ls", place], ["stats", place], ["doctor", place]):
        refused = limpet(*command, folder=tmp_path, LIMPET_ENCRYPTION_KEY="00" * 32)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "this database stores plaintext" in refused.stderr
    assert limpet("get", place, "b", folder=tmp_path).returncode == 1, "nothing was written"
    assert limpet("get", place, "a", folder=tmp_path).stdout == "1\n"


def test_encryption_can_be_required(place: str, tmp_path: Path) -> None:
    required = {"LIMPET_REQUIRE_ENCRYPTION": "1"}
    refused = limpet("set", place, "a", "1", folder=tmp_path, **required)
    assert refused.returncode == 1
    assert "LIMPET_REQUIRE_ENCRYPTION is set" in refused.stderr
    assert limpet("set", place, "a", "1", folder=tmp_path, LIMPET_ENCRYPTION_KEY="00" * 32, **required).returncode == 0


async def test_doctor_reads_every_value(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    key = {"LIMPET_ENCRYPTION_KEY": "07" * 32}
    async with create_persistence(place, wrappers=[encrypted(key="07" * 32)]) as persistence:
        await persistence.kv(int, "numbers").set("one", 1)
    assert limpet("doctor", place, folder=tmp_path, **key).returncode == 0
    async with driver_from_url(place) as driver:
        (item,) = (await driver.scan(Range("kv"))).items
        assert isinstance(item.value, bytes)
        await driver.apply([Put(item.key, item.value[:-1])])
    ill = limpet("doctor", place, folder=tmp_path, **key)
    assert ill.returncode == 1
    assert "damaged" in ill.stdout


def test_rotate(place: str, tmp_path: Path) -> None:
    for file in ("old", "new"):
        limpet("keygen", "--out", file, folder=tmp_path)
    old, new = ({"LIMPET_ENCRYPTION_KEY_FILE": file} for file in ("old", "new"))
    for at in ("a", "b"):
        limpet("set", place, at, "1", folder=tmp_path, **old)
    without = limpet("rotate", place, folder=tmp_path, **new)
    assert without.returncode == 1
    assert "was not encrypted with this key" in without.stderr
    assert "--old-key-file" in without.stderr
    files = ["--key-file", "new", "--old-key-file", "old"]
    assert json.loads(limpet("rotate", place, *files, "--json", folder=tmp_path).stdout)["sealed"] == 2
    assert limpet("get", place, "a", folder=tmp_path, **new).stdout == "1\n"
    assert "older one" in limpet("get", place, "a", folder=tmp_path, **old).stderr
    again = limpet("rotate", place, folder=tmp_path, **new, LIMPET_ENCRYPTION_OLD_KEY_FILE="old")
    assert again.returncode == 0
    assert again.stdout.startswith("encrypted 0 of ")
    plain = "fs://./plain" if place.startswith("fs") else "sqlite:///plain.db"
    limpet("set", plain, "a", "1", folder=tmp_path)
    assert "no encryption to rotate" in limpet("rotate", plain, *files, folder=tmp_path).stderr
    unmade = "fs://./b" if place.startswith("fs") else "sqlite:///b.db"
    assert limpet("rotate", unmade, *files, folder=tmp_path).returncode == 1
    assert limpet("set", unmade, "a", "1", folder=tmp_path, **new).returncode == 0
    assert limpet("rotate", unmade, folder=tmp_path, **new).returncode == 0, "it was encrypted, not made plain before"
    back = limpet("rotate", place, "--key-file", "old", "--old-key-file", "new", folder=tmp_path)
    assert (back.returncode, back.stdout) == (1, "")
    assert "a database cannot go back" in back.stderr


def test_a_complete_rotation(place: str, tmp_path: Path) -> None:
    for file in ("old", "new", "newest"):
        limpet("keygen", "--out", file, folder=tmp_path)
    limpet("set", place, "a", "1", folder=tmp_path, LIMPET_ENCRYPTION_KEY_FILE="old")
    rotated = limpet("rotate", place, "--key-file", "new", "--old-key-file", "old", folder=tmp_path)
    assert rotated.returncode == 0, rotated.stderr
    again = limpet("rotate", place, "--reseal", "--key-file", "new", "--old-key-file", "old", folder=tmp_path)
    assert again.returncode == 1
    assert "generate another key" in again.stderr
    files = ["--key-file", "newest", "--old-key-file", "new"]
    assert json.loads(limpet("rotate", place, "--reseal", *files, "--json", folder=tmp_path).stdout)["sealed"] == 1
    assert limpet("get", place, "a", folder=tmp_path, LIMPET_ENCRYPTION_KEY_FILE="newest").stdout == "1\n"
    assert limpet("get", place, "a", folder=tmp_path, LIMPET_ENCRYPTION_KEY_FILE="new").returncode == 1
