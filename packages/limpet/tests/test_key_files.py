"""A key file that other users can read is a warning, and an error where that is asked for."""

import asyncio
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from limpet._errors import ConfigurationError
from limpet.wrappers.encryption import KeySource, find_key, new_key

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no modes of files")


def found(source: KeySource) -> bytes:
    return asyncio.run(find_key(source))


@pytest.fixture
def file() -> Iterator[Path]:
    """In a folder that everybody may pass through, as those of pytest are not."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "master.key"
        path.write_text(new_key())
        path.chmod(0o600)
        if not all(around.stat().st_mode & 1 for around in path.resolve().parents):
            pytest.skip("not tested: the folder for temporary files is closed to others")
        yield path


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o660])
def test_a_private_file_says_nothing(file: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMPET_REQUIRE_PRIVATE_KEYS", "1")
    file.chmod(mode)
    assert len(found(file)) == 32


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_one_that_others_can_read(file: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    file.chmod(mode)
    with pytest.warns(UserWarning, match="chmod 600"):
        assert len(found(file)) == 32
    monkeypatch.setenv("LIMPET_REQUIRE_PRIVATE_KEYS", "1")
    with pytest.raises(ConfigurationError, match="chmod 600") as caught:
        found(file)
    assert file.read_text() not in str(caught.value)


def test_a_folder_that_nobody_passes_protects_it(file: Path) -> None:
    file.chmod(0o644)
    file.parent.chmod(0o700)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found(file)


def test_mounted_secrets_are_not_complained_about(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.chmod(0o444)
    monkeypatch.setenv("LIMPET_SECRETS", os.fspath(file.parent))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found(f"secret://{file.name}")
        found(file)
    monkeypatch.setenv("LIMPET_REQUIRE_PRIVATE_KEYS", "1")
    with pytest.raises(ConfigurationError):
        found(f"secret://{file.name}")
