"""The programs on this machine: where they are, and what they print."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

__all__ = ["installed", "said", "succeeds"]


def installed(program: str, *folders: str) -> str | None:
    """Return where a program is: on the path, or in one of these folders, newest first."""
    for pattern in folders:
        for folder in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True):
            if (folder / program).exists():
                return str(folder / program)
    return shutil.which(program)


def said(*command: str) -> str:
    """Return what it prints, whether it succeeds or not."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def succeeds(*command: str) -> bool:
    """Return whether it exits without an error."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
