"""The open folders below the base: few are kept, and one that was given up is opened again."""

from __future__ import annotations

from pathlib import Path

import pytest
from limpet_drivers.fs import _folders
from limpet_drivers.fs._folders import Folders


def test_a_folder_that_made_room_for_those_around_it_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = "a/b/c/d/e/f"
    (tmp_path / deep).mkdir(parents=True)
    others = [f"x{n}" for n in range(20)]
    for other in others:
        (tmp_path / other).mkdir()
    monkeypatch.setattr(_folders, "_KEPT", 9)
    folders = Folders(str(tmp_path), lambda path: str(tmp_path / path))
    assert folders.is_folder(deep)
    for at, other in enumerate(others):
        assert folders.is_folder(other)
        folders.begin()
        assert folders.is_folder(deep), f"after {at + 1} others"
        assert not folders.is_folder(f"{deep}/no-such")
    folders.close()
