"""On a file system that takes `A` and `a` for one name, with Windows' rules where one can be mounted."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import pytest
from limpet.driver import Put, Range, key, name, text
from limpet_conformance import Section
from limpet_conformance.sections.keys import Keys
from limpet_conformance.sections.lifecycle import Lifecycle
from limpet_drivers.fs import FsDriver


def folds_case(folder: Path) -> bool:
    (folder / "Probe").touch()
    return (folder / "pROBE").exists()


@pytest.fixture(scope="module")
def folding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on a file system that folds case: this machine's own, or an NTFS mounted so (lowntfs-3g, as root)."""
    here = tmp_path_factory.mktemp("here")
    if folds_case(here):
        yield here
        return
    tools = [shutil.which(tool) for tool in ("mkfs.ntfs", "lowntfs-3g", "umount")]
    if not all(tools) or not os.access("/dev/fuse", os.R_OK | os.W_OK) or os.geteuid() != 0:
        pytest.skip("not tested: no file system here folds case, and mounting one needs root, /dev/fuse and ntfs-3g")
    image, mounted = here / "image", here / "mounted"
    mounted.mkdir()
    with open(image, "wb") as file:
        file.truncate(64 * 1024 * 1024)
    subprocess.run(["mkfs.ntfs", "-F", "-q", "-f", str(image)], check=True, capture_output=True)
    options = "ignore_case,windows_names"
    done = subprocess.run(["lowntfs-3g", "-o", options, str(image), str(mounted)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"not tested: this machine refused to mount a file system that folds case: {done.stderr.strip()}")
    try:
        assert folds_case(mounted), "the mounted file system should fold case"
        yield mounted
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


PAIRS = [("A", "a"), ("Ab", "aB"), ("É", "é"), ("e\u0301", "\u00e9"), ("K", "\u212a"), ("ß", "ẞ"), ("con", "CON")]
SINGLES = ["a.", "a ", "nul", "COM1", "lpt9.txt", "x" * 300, "😀" * 100, '<>:"/\\|?*', "..", ".", "~1", "LONGFI~1.TXT"]


async def test_names_stay_apart(folding: Path) -> None:
    texts = {one for pair in PAIRS for one in pair} | set(SINGLES)
    keys = sorted(
        [key(name("kv"), text(one)) for one in texts] + [key(name("kv"), text(one), text("A")) for one in texts]
    )
    async with FsDriver(folding / "apart") as driver:
        await driver.apply([Put(one, one) for one in keys])
    async with FsDriver(folding / "apart") as driver:
        assert [item.value for item in await driver.get(keys) if item] == keys
    shutil.rmtree(folding / "apart" / ".limpet")
    async with FsDriver(folding / "apart") as driver:  # and the names alone tell the keys
        assert [item.key for item in (await driver.scan(Range("", limit=1000))).items] == keys
        assert await driver.clear("") == len(keys)


class OnFoldingCase(Section):
    capabilities = FsDriver.capabilities
    effort = 0.2
    folder: ClassVar[Path]

    @pytest.fixture(autouse=True)
    def _on(self, folding: Path) -> None:
        type(self).folder = folding

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        with TemporaryDirectory(dir=self.folder) as folder:
            yield Path(folder, "data").as_uri().replace("file:", "fs:")


class TestKeys(OnFoldingCase, Keys):
    """The suite's section about keys, there."""


class TestLifecycle(OnFoldingCase, Lifecycle):
    """The suite's section about opening and closing, there."""
