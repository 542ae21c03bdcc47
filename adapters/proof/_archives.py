"""Released source archives, downloaded once and unpacked."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["unpacked"]


def unpacked(requirement: str, cache: Path) -> Path:
    """The folder of an archive like `openai-agents==0.24.0`, downloaded with pip where it is not in `cache` yet."""
    place = cache / requirement.replace("==", "-")
    if not place.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as work:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
            subprocess.run([*command, "--dest", work, requirement], check=True)
            (archive,) = Path(work).glob("*.tar.gz")
            with tarfile.open(archive) as packed:
                packed.extractall(Path(work) / "unpacked", filter="data")
            (folder,) = (Path(work) / "unpacked").iterdir()
            folder.rename(place)
    return place
