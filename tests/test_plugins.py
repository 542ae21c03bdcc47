"""Packages that extend Limpet and are broken, doubled or not allowed: named, and no harm to the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

GOOD = """
from limpet.plugins import hookimpl
opened = []
@hookimpl
def limpet_driver_opened(driver, url):
    opened.append(url)
@hookimpl
def limpet_commands(app):
    @app.command("wave")
    def wave():
        "Waves."
        print("waved")
"""

DRIVER = "from limpet.driver import MemoryDriver\nclass Mine(MemoryDriver):\n    from_url = classmethod(lambda cls, url: cls())\n"

OPEN = """
import asyncio, sys, warnings
import limpet
async def main():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            for _ in range(2):
                async with limpet.create_storage({url!r}{more}) as storage:
                    await storage.set_item("a", 1)
                    assert await storage.get_item("a") == 1
        except limpet.PluginError as error:
            print("PluginError", error.distribution, error.entry_point, type(error.__cause__).__name__, error, sep="|")
        except limpet.LimpetError as error:
            print(type(error).__name__, error, sep="|")
    for each in said:
        print("warned", each.message, sep="|")
    print("opened", *getattr(sys.modules.get("good"), "opened", ()), sep="|")
    print("imported", *sorted(set(sys.modules) & {{"good", "bad", "one", "two"}}), sep="|")
asyncio.run(main())
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Put a package where the programs of this test find it: its module, and its entry points."""

    def install(package: str, module: str, source: str, entry_points: str) -> None:
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(entry_points)

    return install


def python(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": path, **variables},
    )


def opening(folder: Path, url: str = "memory://", more: str = "", **variables: str) -> dict[str, list[str]]:
    done = python(folder, "-c", OPEN.format(url=url, more=more), **variables)
    assert done.returncode == 0, done.stderr
    said: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        word, *rest = line.split("|")
        said.setdefault(word, []).extend(rest)
    return said


def limpet(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return python(folder, "-m", "limpet.cli", *arguments, **variables)


BROKEN = {
    "raises": ("raise RuntimeError('no GPU')", "RuntimeError: no GPU"),
    "exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "lacks": ("import no_such_module_anywhere", "no_such_module_anywhere"),
    "syntax": ("def", "SyntaxError"),
    "hook": ("from limpet.plugins import hookimpl\n@hookimpl\ndef limpet_opend(url): pass", "limpet_opend"),
    "arguments": ("from limpet.plugins import hookimpl\n@hookimpl\ndef limpet_wrap_driver(uri): pass", "uri"),
    "nothing": ("x = 1", "none of Limpet's hooks"),
}


OFTEN = ("raises", "lacks")
"""Two kinds that are tested every time: one that cannot be imported, and one that can."""


@pytest.mark.parametrize(
    "kind", [each if each in OFTEN else pytest.param(each, marks=pytest.mark.again) for each in BROKEN]
)
def test_a_broken_plug_in_is_named_and_the_others_work(kind: str, install: Install, tmp_path: Path) -> None:
    source, cause = BROKEN[kind]
    install("acme-good", "good", GOOD, "[limpet.plugins]\nfine = good\n")
    install("acme-bad", "bad", source, "[limpet.plugins]\naudit = bad\n")
    said = opening(tmp_path)
    assert said["opened"] == ["memory://", "memory://"]
    (warning,) = said["warned"]  # once, and not at every opening
    assert "acme-bad (audit = bad)" in warning
    assert cause in warning
    assert "LIMPET_PLUGINS" in warning

    named = opening(tmp_path, LIMPET_PLUGINS="acme-bad")
    assert named["PluginError"][:2] == ["acme-bad", "audit"]
    assert cause in named["PluginError"][3]
    assert opening(tmp_path, more=", plugins=['Acme_Bad']")["PluginError"][0] == "acme-bad"

    waved = limpet(tmp_path, "wave")
    assert waved.stdout == "waved\n"
    assert "acme-bad" in waved.stderr
    rows = json.loads(limpet(tmp_path, "drivers", "--json").stdout)
    errors = {row["plugin"]: row.get("error") for row in rows if row["plugin"]}
    assert errors["fine"] is None
    assert cause in errors["audit"]
    assert "acme-bad" in limpet(tmp_path, "drivers").stdout
    assert limpet(tmp_path, "set", "sqlite:///a.db", "a", "1").returncode == 0
    sick = limpet(tmp_path, "doctor", "sqlite:///a.db", "--json")
    assert sick.returncode == 1
    assert any("acme-bad" in problem for problem in json.loads(sick.stdout)["problems"])


def test_a_hook_that_fails_is_named(install: Install, tmp_path: Path) -> None:
    hooks = "from limpet.plugins import hookimpl\n@hookimpl\ndef {}: {}\n"
    install("acme-good", "good", GOOD, "[limpet.plugins]\nfine = good\n")
    install("acme-bad", "bad", hooks.format("limpet_driver_opened(url)", "1 / 0"), "[limpet.plugins]\naudit = bad\n")
    said = opening(tmp_path)
    assert said["opened"] == ["memory://", "memory://"]
    assert "acme-bad (audit = bad) failed in limpet_driver_opened(): ZeroDivisionError" in said["warned"][0]
    # what is stored depends on a wrapper, so none is left out
    (tmp_path / "bad.py").write_text(hooks.format("limpet_wrap_driver(url)", "1 / 0"))
    assert opening(tmp_path)["PluginError"][:3] == ["acme-bad", "audit", "ZeroDivisionError"]
    (tmp_path / "bad.py").write_text(hooks.format("limpet_wrap_driver(url)", "return 5"))
    assert opening(tmp_path)["PluginError"][:2] == ["acme-bad", "audit"]
    assert opening(tmp_path, LIMPET_PLUGINS="acme-good")["opened"] == ["memory://", "memory://"]


def test_the_switch_says_what_is_imported(install: Install, tmp_path: Path) -> None:
    install("acme-good", "good", GOOD, "[limpet.plugins]\nfine = good\n")
    install("acme-two", "two", GOOD, "[limpet.plugins]\nfine = two\n")
    install("acme-one", "one", DRIVER, "[limpet.drivers]\none = one:Mine\n")
    assert opening(tmp_path)["imported"] == ["good", "two"]
    assert opening(tmp_path, LIMPET_PLUGINS="none")["imported"] == []
    assert opening(tmp_path, LIMPET_PLUGINS="acme-good")["imported"] == ["good"]
    assert opening(tmp_path, LIMPET_PLUGINS="Acme.Two , acme-good")["imported"] == ["good", "two"]
    assert opening(tmp_path, more=", plugins=[]")["imported"] == []
    assert opening(tmp_path, more=", plugins=['acme-two']", LIMPET_PLUGINS="none")["imported"] == ["two"]

    assert opening(tmp_path, "one://")["imported"] == ["good", "one", "two"]
    left_out = opening(tmp_path, "one://", LIMPET_PLUGINS="none")
    assert "served by acme-one" in left_out["DriverNotFoundError"][0]
    assert left_out["imported"] == []
    assert opening(tmp_path, "one://", LIMPET_PLUGINS="acme-one")["imported"] == ["one"]
    assert opening(tmp_path, f"sqlite:///{(tmp_path / 'a.db').as_posix()}", LIMPET_PLUGINS="none")["opened"] == []

    assert "did you mean 'acme-two'" in opening(tmp_path, LIMPET_PLUGINS="acme-tow")["ConfigurationError"][0]
    assert "list of package names" in opening(tmp_path, more=", plugins='acme-two'")["ConfigurationError"][0]
    assert "names 5" in opening(tmp_path, more=", plugins=[5]")["ConfigurationError"][0]
    shown = limpet(tmp_path, "drivers", LIMPET_PLUGINS="acme-tow")
    assert shown.returncode == 1
    assert "Traceback" not in shown.stderr
    rows = json.loads(limpet(tmp_path, "drivers", "--json", LIMPET_PLUGINS="acme-two").stdout)
    left = {row["package"] for row in rows if "excluded by" in row.get("error", "")}
    assert {"acme-good", "acme-one"} <= left
    assert not left & {"limpet", "limpet-sqlite", "acme-two"}


def test_two_packages_for_one_scheme_are_an_error_that_names_both(install: Install, tmp_path: Path) -> None:
    install("acme-one", "one", DRIVER, "[limpet.drivers]\nsqlite = one:Mine\nboth = one:Mine\n")
    install("acme-two", "two", DRIVER, "[limpet.drivers]\nboth = two:Mine\n")
    twice = opening(tmp_path, "both://")
    assert "acme-one and acme-two both serve both://" in twice["PluginError"][3]
    assert twice["imported"] == []  # neither ran
    assert "acme-one and limpet-sqlite both serve sqlite://" in opening(tmp_path, "sqlite:///a.db")["PluginError"][3]
    assert opening(tmp_path, "memory://")["opened"] == []
    assert opening(tmp_path, "both://", LIMPET_PLUGINS="acme-two")["imported"] == ["two"]
    assert opening(tmp_path, "sqlite://", LIMPET_PLUGINS="acme-one")["imported"] == ["one"]
    assert opening(tmp_path, "sqlite:///a.db", LIMPET_PLUGINS="acme-two")["imported"] == []
    rows = json.loads(limpet(tmp_path, "drivers", "--json").stdout)
    errors = [row["error"] for row in rows if row["scheme"] == "both"]
    assert len(errors) == 2
    assert all("acme-one and acme-two" in error for error in errors)
    assert "acme-two" in limpet(tmp_path, "drivers").stdout


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("raise ZeroDivisionError('at import')", "ZeroDivisionError: at import"),
        ("import no_such_module_anywhere", "no_such_module_anywhere"),
        ("x = 1", "AttributeError"),
        ("class Mine: pass", "not a subclass of limpet.driver.Driver"),
        ("from limpet.driver import Driver as Mine", "a driver without clear, close"),
        (DRIVER + "    @classmethod\n    def from_url(cls, url): raise KeyError('host')", "KeyError: 'host'"),
        (DRIVER + "    @classmethod\n    def from_url(cls, url): return url", "which is not a Driver"),
    ],
)
def test_a_broken_driver_is_named_and_the_others_work(source: str, says: str, install: Install, tmp_path: Path) -> None:
    install("acme-bad", "bad", source, "[limpet.drivers]\nmine = bad:Mine\n")
    said = opening(tmp_path, "mine://user:hunter2@host")
    assert said["PluginError"][:2] == ["acme-bad", "mine"]
    assert says in said["PluginError"][3]
    assert "hunter2" not in said["PluginError"][3]
    assert "opened" in opening(tmp_path, "memory://")
    shown = limpet(tmp_path, "drivers")
    assert shown.returncode == 0, shown.stderr
    assert "sqlite://" in shown.stdout
    doctor = limpet(tmp_path, "doctor", "mine://")
    assert doctor.returncode == 1
    assert "acme-bad" in doctor.stdout + doctor.stderr
    assert "Traceback" not in doctor.stderr


def test_a_package_whose_entry_points_cannot_be_read_stops_nobody(install: Install, tmp_path: Path) -> None:
    install("acme-good", "good", GOOD, "[limpet.plugins]\nfine = good\n")
    install("acme-bad", "bad", "", "[limpet.plugins]\nno equals sign\n")
    said = opening(tmp_path)
    assert said["opened"] == ["memory://", "memory://"]
    assert "acme-bad" in said["warned"][0]
    assert opening(tmp_path, LIMPET_PLUGINS="acme-good")["opened"] == ["memory://", "memory://"]
    shown = limpet(tmp_path, "drivers")
    assert "sqlite://" in shown.stdout
    assert "acme-bad" in shown.stdout


def test_a_place_that_a_broken_plug_in_wrote_is_not_opened_without_it(install: Install, tmp_path: Path) -> None:
    wrap = (
        "from limpet.wrappers import Wrapper\nfrom limpet.plugins import hookimpl\n"
        "class Sealed(Wrapper):\n    stored_as = 'acme'\n"
        "@hookimpl\ndef limpet_wrap_driver(url):\n    return Sealed\n"
    )
    install("acme-bad", "bad", wrap, "[limpet.plugins]\nseal = bad\n")
    url = f"sqlite:///{(tmp_path / 'a.db').as_posix()}"
    assert "WrongStackError" not in opening(tmp_path, url)
    (tmp_path / "bad.py").write_text("raise RuntimeError('broken now')")
    (wrong,) = opening(tmp_path, url)["WrongStackError"]
    assert "acme-bad (seal = bad) cannot be loaded: RuntimeError: broken now" in wrong
