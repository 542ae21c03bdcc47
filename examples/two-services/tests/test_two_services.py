"""What the compose file says holds together, and its services remember: run as processes in the same environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from limpet.profiles import profile_from_env

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
KEYS = {"sentinel_key": "1f" * 32, "agent_key": "2e" * 32}
VARIABLE = re.compile(r"(?:LIMPET|FAME)_")


def run(service: str, folder: Path, *, key_of: str | None = None) -> subprocess.CompletedProcess[str]:
    """A service in its environment, with `/data` and `/run/secrets` in a folder of the test."""
    said = SERVICES[service]
    volume = said["volumes"][0].partition(":")[0]
    secrets = folder / f"secrets of {service}"
    secrets.mkdir(exist_ok=True)
    for secret in said["secrets"]:
        (secrets / secret).write_text(KEYS[key_of or secret] + "\n")
    environment = {name: value for name, value in os.environ.items() if not VARIABLE.match(name)}
    for name, value in said["environment"].items():
        environment[name] = value.replace("/run/secrets", str(secrets)).replace("/data", str(folder / volume))
    environment |= {"LIMPET_SECRETS": str(secrets), "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, *said["command"][1:]]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_each_service_has_a_volume_and_a_secret_of_its_own() -> None:
    for of_kind in ("volumes", "secrets"):
        named = [mount.partition(":")[0] for service in SERVICES.values() for mount in service[of_kind]]
        assert sorted(named) == sorted(COMPOSE[of_kind])
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].startswith("./secrets/")
    assert (ROOT / ".gitignore").read_text().split() == ["secrets/"]


@pytest.mark.parametrize("service", SERVICES)
def test_the_environment_is_one_that_profiles_read(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if VARIABLE.match(name):
            monkeypatch.delenv(name)
    said = SERVICES[service]
    (secret,) = said["secrets"]
    for name, value in said["environment"].items():
        assert name in (profile_from_env.__doc__ or ""), f"nobody reads {name}"
        monkeypatch.setenv(name, value)
    profile = profile_from_env()
    place = profile.url.removeprefix("sqlite:///") if profile.url else str(profile.folder)
    assert place.startswith(said["volumes"][0].partition(":")[2] + "/"), "it is not in the volume"
    assert profile.key is not None
    assert said["environment"].get("FAME_STORAGE_MASTER_KEY", f"secret://{secret}") == f"secret://{secret}"
    assert str(profile.key) in (f"/run/secrets/{secret}", "secret://" + secret)
    module = said["command"][2].replace(".", "/")
    assert (ROOT / "src" / f"{module}.py").is_file()


def test_every_folder_that_the_image_copies_is_there() -> None:
    repository = ROOT.parents[1]
    for _, place in re.findall(r"^(COPY) (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        assert (repository / place).is_dir()
    for service in SERVICES.values():
        assert (ROOT / service["build"]["context"]).resolve() == repository
        assert (repository / service["build"]["dockerfile"]).is_file()


def test_both_remember_and_nothing_of_it_is_readable(tmp_path: Path) -> None:
    for turn in (1, 2):
        agent, sentinel = run("agent", tmp_path), run("sentinel", tmp_path)
        assert (agent.returncode, sentinel.returncode) == (0, 0), agent.stderr + sentinel.stderr
        previous, updated = agent.stdout.splitlines()
        note = '"started by compose"' if turn == 2 else "null"
        assert previous == f'Previous state: {{"starts":{turn - 1},"note":{note}}}'
        assert updated == f'Updated state: {{"starts":{turn},"note":"started by compose"}}'
        assert sentinel.stdout == "Routes: agent\n"
    assert (tmp_path / "agent/agent/__agent_agent.db").exists()
    assert (tmp_path / "sentinel/sentinel.db").exists()
    stored = b"".join(file.read_bytes() for file in tmp_path.rglob("*.db*"))
    assert stored
    for word in (b"started by compose", b"ws://agent", b"routes"):
        assert word not in stored


@pytest.mark.parametrize(("service", "other"), [("agent", "sentinel_key"), ("sentinel", "agent_key")])
def test_the_key_of_the_other_opens_nothing(service: str, other: str, tmp_path: Path) -> None:
    assert run(service, tmp_path).returncode == 0
    refused = run(service, tmp_path, key_of=other)
    assert refused.returncode == 1
    assert "WrongKeyError" in refused.stderr
    assert KEYS[other] not in refused.stderr
    assert run(service, tmp_path).returncode == 0
