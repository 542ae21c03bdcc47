"""The programs of this machine: where they are, and what they say."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

__all__ = ["installed", "said", "succeeds"]


def installed(program: str, *folders: str) -> str | None:
    """Where a program is: on the path, or in one of these folders, the newest first."""
    for pattern in folders:
        for folder in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True):
            if (folder / program).exists():
                return str(folder / program)
    return shutil.which(program)


def said(*command: str) -> str:
    """What it writes, whether it succeeds or not."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def succeeds(*command: str) -> bool:
    """Whether it ends without an error."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
