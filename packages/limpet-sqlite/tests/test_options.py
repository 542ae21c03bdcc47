"""Keywords, defaults, and their spelling in a URL."""

import os
from pathlib import Path

import pytest
from limpet import ConfigurationError
from limpet.opening import driver_from_url
from limpet_drivers.sqlite import SqliteDriver
from limpet_drivers.sqlite._options import Options


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///data/agent.db", Path("data/agent.db").absolute()),
        ("sqlite:///agent.db", Path("agent.db").absolute()),
        ("sqlite:////var/lib/agent.db", Path("/var/lib/agent.db").absolute()),
        ("sqlite:///a%20b/%C3%A9%3F%23.db", Path("a b/é?#.db").absolute()),
        ("sqlite://", None),
        ("sqlite:///", None),
        ("sqlite:///:memory:", None),
    ],
)
def test_paths_are_spelled_as_in_sqlalchemy(url: str, path: Path | None) -> None:
    assert Options.from_url(url) == Options(path)


def test_options_stand_in_the_query() -> None:
    assert Options.from_url("sqlite:////a.db?durability=relaxed&timeout=2.5") == Options(
        Path("/a.db").absolute(), "relaxed", 2.5
    )
    assert Options(None).durability == "disk"
    assert Options(None).timeout == 30


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("sqlite:///a.db?durabilty=disk", "durability"),
        ("sqlite:///a.db?mode=ro", "durability, timeout"),
        ("sqlite:///a.db?durability=no", "'disk' or 'relaxed'"),
        ("sqlite:///a.db?timeout=soon", "timeout"),
        ("sqlite:///a.db?timeout=0", "above 0"),
        ("sqlite:///a.db?timeout=inf", "above 0"),
        ("sqlite:///a.db?timeout=1&timeout=2", "twice"),
        ("sqlite://data/agent.db", "sqlite:///data/agent.db"),
        ("sqlite:///a%00.db", "not a path"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_hint(url: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        SqliteDriver.from_url(url)


@pytest.mark.parametrize("path", ["", b"a.db", 3, None, "a\0.db", "sqlite:///a.db"])
def test_what_is_no_path_is_refused(path: object) -> None:
    with pytest.raises(ConfigurationError):
        SqliteDriver(path)  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", [True, "3", -1, float("nan")])
def test_what_is_no_timeout_is_refused(timeout: float) -> None:
    with pytest.raises(ConfigurationError):
        SqliteDriver("a.db", timeout=timeout)


def test_a_relative_path_counts_from_where_the_driver_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = Options.from_path("agent.db", "disk", 1)
    os.chdir("/")
    assert options.path == tmp_path / "agent.db"


def test_the_entry_point_makes_it() -> None:
    assert isinstance(driver_from_url("sqlite:///agent.db"), SqliteDriver)
