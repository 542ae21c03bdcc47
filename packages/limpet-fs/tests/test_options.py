"""Keywords and URLs."""

import os
from pathlib import Path

import pytest
from limpet._errors import ConfigurationError
from limpet.opening import driver_from_url
from limpet_drivers.fs import FsDriver
from limpet_drivers.fs._options import from_url


@pytest.mark.parametrize(
    ("url", "path", "options"),
    [
        ("fs://./data", "./data", {}),
        ("fs://data/agent", "data/agent", {}),
        ("fs:///srv/data", "/srv/data", {}),
        ("fs:///srv/My%20data%3F", "/srv/My data?", {}),
        ("fs://./data?durability=process", "./data", {"durability": "process"}),
        ("fs://./data?lock_timeout=2.5&durability=disk", "./data", {"lock_timeout": 2.5, "durability": "disk"}),
    ],
)
def test_urls(url: str, path: str, options: dict[str, object]) -> None:
    assert from_url(url) == (path, options)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("fs://", "does not name a folder"),
        ("fs://./data?durable=disk", "durability"),
        ("fs://./data?colour=red", "durability, lock_timeout"),
        ("fs://./data?durability=never", "durability"),
        ("fs://./data?lock_timeout=soon", "lock_timeout"),
        ("fs://./data?lock_timeout=-1", "lock_timeout"),
    ],
)
def test_urls_that_cannot_be_used(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        driver_from_url(url)


def test_the_entry_point_gives_the_driver(tmp_path: Path) -> None:
    driver = driver_from_url(f"fs://{tmp_path}/data?durability=process")
    assert isinstance(driver, FsDriver)
    assert driver.capabilities.durable == "process"
    assert FsDriver.capabilities.durable == "disk"
    assert not (tmp_path / "data").exists(), "no IO before open"


@pytest.mark.parametrize("base", ["", "a\0b", b"bytes"])
def test_bases_that_are_none(base: object) -> None:
    with pytest.raises(ConfigurationError, match="not a folder"):
        FsDriver(base)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"durability": "maybe"}, {"lock_timeout": -1.0}, {"lock_timeout": float("nan")}])
def test_keywords_that_cannot_be_used(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        FsDriver(tmp_path, **options)  # type: ignore[arg-type]


async def test_a_relative_base_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    driver = FsDriver("data")
    monkeypatch.chdir("/")
    async with driver:
        assert ".limpet" in os.listdir(tmp_path / "data")
