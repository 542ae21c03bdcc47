"""Who may read what a driver makes on a disk."""

import os
import sys
from pathlib import Path

import pytest
from limpet.driver.kit import give_to_owner, new_file_mode, new_folder_mode

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no modes of files")


@pytest.mark.parametrize(
    ("folder", "file", "below"),
    [
        (0o700, 0o600, 0o700),
        (0o755, 0o600, 0o700),  # what mkdir gives everybody
        (0o775, 0o600, 0o700),
        (0o1777, 0o600, 0o700),  # /tmp
        (0o750, 0o640, 0o750),  # somebody's choice
        (0o2770, 0o660, 0o770),
        (0o2775, 0o664, 0o775),
        (0o777, 0o666, 0o777),
        (0o500, 0o600, 0o700),
    ],
)
def test_modes_follow_a_folder_that_somebody_chose(tmp_path: Path, folder: int, file: int, below: int) -> None:
    tmp_path.chmod(folder)
    found = tmp_path.stat()
    assert oct(new_folder_mode(found)) == oct(below)
    assert oct(new_file_mode(found)) == oct(file)
    tmp_path.chmod(0o700)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root gives files away")
def test_what_root_makes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 4321)
    with (tmp_path / "file").open("w") as file:
        give_to_owner(file.fileno(), tmp_path.stat())
    found = (tmp_path / "file").stat()
    assert (found.st_uid, found.st_gid) == (1234, 4321)
