"""Units of systemd and resources of Kubernetes on a page: they are well-formed, and the command that they run works."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Run = Callable[..., str]


def check_units(code: str, folder: Path, run: Run) -> None:
    """Check files of units, each of which begins with `# /its/path`."""
    units = re.split(r"^# (/\S+)$", code, flags=re.MULTILINE)[1:]
    assert units, "a block of units says no path"
    paths: list[str] = []
    for path, text in zip(units[::2], units[1::2], strict=True):
        command = re.search(r"^ExecStart=/\S+/limpet (.+)$", text, re.MULTILINE)
        if command is not None:
            run(*_here(command[1].replace("${LIMPET_URL}", "sqlite:///agent.db"), folder))
            text = text.replace(command[0], "ExecStart=/bin/true").replace("User=agent", "User=root")
        written = folder / Path(path).name
        written.write_text(text, encoding="utf-8")
        paths.append(str(written))
    if shutil.which("systemd-analyze"):
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True, timeout=60, check=False
        )
        assert not done.returncode, done.stderr


def check_resources(code: str, folder: Path, run: Run) -> None:
    """Check resources of Kubernetes: the fields that make a job what it is, and its command."""
    for resource in yaml.safe_load_all(code):
        assert {"apiVersion", "kind", "metadata", "spec"} <= resource.keys()
        (container,) = _pod(resource)["containers"]
        shell, option, line = container["command"]
        assert (shell, option) == ("sh", "-c")
        words = line.replace('"$LIMPET_URL"', "sqlite:///agent.db")
        assert words.startswith("limpet ")
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts.keys() == {volume["name"] for volume in _pod(resource)["volumes"]}
        run(*_here(words.removeprefix("limpet "), folder))


def _pod(resource: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = resource["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return pod


def _here(command: str, folder: Path) -> list[str]:
    """The command with its folders below this one."""
    return [str(folder / word[1:]) if word.startswith("/") else word for word in shlex.split(command)]
