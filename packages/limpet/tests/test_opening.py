"""URLs, entry points, the manifest, the default place."""

from __future__ import annotations

from pathlib import Path

import pytest
from limpet import (
    ConfigurationError,
    DriverNotFoundError,
    FormatError,
    WrongStackError,
    create_persistence,
    create_storage,
)
from limpet.driver import Driver, MemoryDriver, Put
from limpet.driver.kit import hide_password, host_now_ms, parse_url, read_options
from limpet.opening import MANIFEST, check_manifest, default_url, driver_from_url, installed_drivers
from limpet.wrappers import Wrapper


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:pa:ss@host/0", "redis://user:***@host/0"),
        ("redis://:secret@host", "redis://:***@host"),
        ("mysql://u:p%40ss@h:1/db?password=x&base=y", "mysql://u:***@h:1/db?password=***&base=y"),
        ("sqlite:///a.db?encryption_key=00ff", "sqlite:///a.db?encryption_key=***"),
        ("could not reach redis://a:b@c: refused", "could not reach redis://a:***@c: refused"),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
        ("redis:user:secret@host", "redis:user:***@host"),
        ("redis:/user:secret@host", "redis:/user:***@host"),
        ("redis://token@host/0", "redis://***@host/0"),
        ("redis://user:a/b?c#d e@host/0?base=x&timeout=3&foo=y", "redis://user:***@host/0?base=x&timeout=3&foo=***"),
        ("conflict: the item at kv!@users is another one", "conflict: the item at kv!@users is another one"),
    ],
)
def test_passwords_are_hidden(url: str, shown: str) -> None:
    assert hide_password(url) == shown


def test_parts() -> None:
    url = parse_url("POSTGRESQL://us%65r:p%40ss@Host:5/my%20db?base=a%26b&pool=")
    assert (url.scheme, url.username, url.password, url.host, url.port) == ("postgresql", "user", "p@ss", "host", 5)
    assert url.path == "/my db"
    assert url.query == {"base": "a&b", "pool": ""}
    assert parse_url("fs://./da%20ta?x=1").rest == "./da ta"
    several = parse_url("redis+cluster://us%65r:p%2C@one:1,[::2]:2,three/0")
    assert several.hosts == (("one", 1), ("::2", 2), ("three", None))
    assert (several.host, several.port, several.password) == ("one", 1, "p,")


@pytest.mark.parametrize("bad", ["", "agent.db", "sqlite:/a", "redis://h:port", "sqlite:///a?x=1&x=2", "sqlite:///a?x"])
def test_what_is_no_url_is_refused(bad: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_url(bad)


def test_options_are_read_by_their_type() -> None:
    url = parse_url("x://?timeout=2.5&tls=true&size=7")
    assert read_options(url, {"timeout": float, "tls": bool, "size": int}) == {"timeout": 2.5, "tls": True, "size": 7}
    with pytest.raises(ConfigurationError, match="did you mean 'timeout'"):
        read_options(parse_url("x://?timeuot=1"), {"timeout": float})
    with pytest.raises(ConfigurationError, match="the options are none"):
        read_options(parse_url("x://?a=1"), {})
    with pytest.raises(ConfigurationError, match="'size'"):
        read_options(parse_url("x://?size=big"), {"size": int})


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = [entry for scheme, entry in installed_drivers().items() if scheme != "mysql"]
    monkeypatch.setattr("limpet.opening._registry.declared", lambda group: (installed, []))
    with pytest.raises(DriverNotFoundError, match=r"limpet-mysql, which is the extra limpet\[mysql\]"):
        driver_from_url("mysql://localhost")
    with pytest.raises(LookupError, match="memory"):
        driver_from_url("nosuch://")
    with pytest.raises(ConfigurationError, match="no path"):
        driver_from_url("memory://place")


def test_who_forgets_to_await_is_told() -> None:
    with pytest.raises(AttributeError, match="put 'await' or 'async with'"):
        create_storage("memory://").get_item  # type: ignore[attr-defined]  # noqa: B018


async def test_who_opens_closes() -> None:
    async with MemoryDriver() as mine:
        async with create_persistence(mine) as persistence:
            await persistence.containers.save_container({"containerId": "c"})
        assert mine.is_open
        await mine.get([MANIFEST])
    driver = MemoryDriver()
    persistence = await create_persistence(driver)
    assert driver.is_open
    await persistence.aclose()
    await persistence.aclose()
    assert not driver.is_open
    for wrong in (5, object()):
        with pytest.raises(ConfigurationError):
            await create_storage(wrong)


async def test_the_manifest_keeps_newer_formats_and_other_stacks_out() -> None:
    class Sealed(Wrapper):
        stored_as = "sealed"

    async with MemoryDriver() as driver:
        await check_manifest(driver)
        await check_manifest(driver)
        with pytest.raises(WrongStackError, match="no wrapper but is being opened through 'sealed'"):
            await check_manifest(Sealed(driver))
        await driver.apply([Put(MANIFEST, '{"format":1,"oldest_reader":1,"wrappers":["sealed"]}')])
        await check_manifest(Sealed(driver))
        with pytest.raises(WrongStackError):
            await create_storage(driver)
        await driver.apply([Put(MANIFEST, '{"format":7,"oldest_reader":1,"wrappers":[]}')])
        await check_manifest(driver)
        for newer in ('{"format":7,"oldest_reader":2,"wrappers":[]}', "{}", "[", "", '{"format":"1"}'):
            await driver.apply([Put(MANIFEST, newer)])
            with pytest.raises(FormatError):
                await check_manifest(driver)


async def test_nothing_means_sqlite_in_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMPET_HOME", str(tmp_path / "a b?c"))
    assert default_url().startswith("sqlite:///")
    from limpet.opening import installed_drivers

    if "sqlite" in installed_drivers():
        async with create_storage() as storage:
            await storage.set_item("a", 1)
        assert (tmp_path / "a b?c" / "limpet.db").exists()
    else:
        with pytest.raises(DriverNotFoundError, match="sqlite"):
            await create_storage()
    monkeypatch.delenv("LIMPET_HOME")
    assert default_url().endswith("/limpet/limpet.db")


def test_a_driver_without_urls_says_so() -> None:
    with pytest.raises(NotImplementedError, match="create it in code"):
        Driver.from_url("x://")


@pytest.mark.parametrize("unit", [0, 1 / 1000, 1000], ids=["no clock", "seconds", "microseconds"])
async def test_a_driver_that_cannot_tell_the_time_is_refused(unit: float) -> None:
    driver = MemoryDriver(clock=lambda: int(host_now_ms() * unit))
    with pytest.raises(ConfigurationError, match="not a time in milliseconds since 1970"):
        await create_persistence(driver)
    assert not driver.is_open
