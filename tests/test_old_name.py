"""The project had another name before its first release; nothing may say it any more."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
OLD = "hold" + "fast"


def test_no_file_and_no_path_says_the_old_name() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    names = [name for name in listed.stdout.decode().split("\0") if name]
    assert len(names) > 400
    assert [name for name in names if OLD in name.lower()] == []
    here = [ROOT / name for name in names if (ROOT / name).is_file()]
    assert [str(path) for path in here if OLD.encode() in path.read_bytes().lower()] == []
