"""An option of a driver is one thing: in the constructor, in the URL, in `Options` and on the driver's page."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from limpet import ConfigurationError, DriverNotFoundError
from limpet.driver import Driver
from limpet.opening import driver_class, driver_from_url

PAGES = Path(__file__).parents[1] / "docs/drivers"

IN_CODE_ONLY = {"pool", "client", "clock"}
"""Objects of the application's. MySQL's `client` is a word, and so in its URL as well."""

WHERE = {
    "sqlite": {"path"},
    "fs": {"base"},
    "redis": {"url"},
    "mongodb": {"url"},
    "postgresql": {"port", "user", "password", "database"},
    "mysql": {"host", "port", "user", "password", "database"},
}
"""Options that the usual parts of a URL spell."""

URLS = {
    "sqlite": "sqlite:///a.db", "fs": "fs://./a", "redis": "redis://h", "mongodb": "mongodb://h",
    "postgresql": "postgresql://h/d", "mysql": "mysql://h/d",
}  # fmt: skip


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("sqlite+aiosqlite:///./a.db", "sqlite:///./a.db"),
        ("postgresql+asyncpg://u:p+aiosqlite@h/d?pool_size=3", "postgresql://u:p+aiosqlite@h/d?pool_size=3"),
        ("MySQL+asyncmy://u@h/d", "mysql://u@h/d"),
        ("mariadb+pymysql://u@h/d", "mariadb://u@h/d"),
    ],
)
def test_the_client_library_of_an_sqlalchemy_url_is_left_out(theirs: str, ours: str) -> None:
    one, other = driver_from_url(theirs), driver_from_url(ours)
    assert (type(one), vars(one)["_options"]) == (type(other), vars(other)["_options"])


@pytest.mark.parametrize("url", ["sqlite+asyncpgx:///a.db", "redis+aiosqlite://h", "postgresql+://h/d"])
def test_another_scheme_with_a_plus_is_a_scheme_of_its_own(url: str) -> None:
    with pytest.raises(DriverNotFoundError):
        driver_from_url(url)


def constructor(scheme: str) -> dict[str, inspect.Parameter]:
    return {name: each for name, each in inspect.signature(driver_class(scheme)).parameters.items() if name != "self"}


def options_of(scheme: str) -> type[Any]:
    found: type[Any] = import_module(f"{driver_class(scheme).__module__.rpartition('.')[0]}._options").Options
    return found


def known_in_url(scheme: str) -> set[str]:
    with pytest.raises(ConfigurationError) as caught:
        driver_class(scheme).from_url(f"{URLS[scheme]}?zzzzzzzzzzzz=1")
    known = re.search(r"(?:the options are|known are|there are) (.*)$", str(caught.value))
    assert known, caught.value
    return set(known[1].split(", "))


@pytest.mark.parametrize("scheme", WHERE)
def test_the_constructor_takes_the_options_with_their_defaults(scheme: str) -> None:
    declared = {field.name: field.default for field in fields(options_of(scheme))}
    taken = {name: each.default for name, each in constructor(scheme).items() if name in declared}
    assert set(declared) - set(taken) == set()
    for name, default in declared.items():
        if default is not MISSING:
            assert taken[name] == default, f"{name} has one default in the constructor and another one in Options"
    assert set(constructor(scheme)) - set(declared) <= IN_CODE_ONLY


@pytest.mark.parametrize("scheme", WHERE)
def test_the_url_takes_every_option_that_is_not_one_of_its_parts(scheme: str) -> None:
    in_code = IN_CODE_ONLY if scheme != "mysql" else {"pool"}
    assert known_in_url(scheme) == set(constructor(scheme)) - WHERE[scheme] - in_code


@pytest.mark.parametrize("scheme", WHERE)
def test_the_page_has_a_row_for_every_option(scheme: str) -> None:
    page = (PAGES / f"{scheme}.md").read_text(encoding="utf-8")
    named = {
        word for row in re.findall(r"^\|([^|]*)\|", page, re.MULTILINE) for word in re.findall(r"`([a-z_]+)`", row)
    }
    missing = set(constructor(scheme)) - WHERE[scheme] - {"clock"} - named
    assert not missing, f"docs/drivers/{scheme}.md says nothing of {sorted(missing)}"


def test_every_driver_with_options_is_here() -> None:
    from limpet.opening import installed_drivers

    found: dict[type[Driver], str] = {}
    for scheme in installed_drivers():
        if driver_class(scheme).__module__.startswith("limpet_drivers"):
            found.setdefault(driver_class(scheme), scheme)
    assert {driver_class(scheme) for scheme in WHERE} == set(found)
