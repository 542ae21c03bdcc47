"""The plug-in: four words in the terminal and as JSON, in any mode of asyncio and with xdist, and inert elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from limpet import ConfigurationError
from limpet.driver import Capabilities, Put, Range
from limpet.opening import driver_from_url
from limpet_conformance import run

pytest_plugins = ["pytester"]

_README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
_EXAMPLE = re.search(r"```python\n# test_conformance.py\n(.*?)```", _README, re.S)
_OVERRIDE = re.search(r"```python\n(import pytest\n.*?xfail.*?)```", _README, re.S)

_WORDS = """
import pytest
from contextlib import asynccontextmanager
from dataclasses import replace
from limpet.driver import MemoryDriver, Range
from limpet_conformance import DriverConformance

class TestWords(DriverConformance):
    capabilities = replace(MemoryDriver.capabilities, watch=False)

    @asynccontextmanager
    async def place(self):
        yield "memory://"

    @pytest.mark.xfail(reason="known since 1.2", strict=True)
    def test_none_comes_first(self):
        assert False

    @pytest.mark.xfail(reason="outdated", strict=True)
    def test_nothing_to_do(self):
        super().test_nothing_to_do()

    async def test_of_my_own(self, driver):
        assert await driver.scan(Range())

    async def test_left_out(self):
        pytest.skip("no server here")
"""
_SELECTED = (
    "test_none_comes_first or test_nothing_to_do or watch or hinted or test_of_my_own or test_left_out or test_health"
)


def _run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "--strict-markers", "-W", "error", *arguments)


def _report(pytester: pytest.Pytester) -> list[dict[str, Any]]:
    found: dict[str, Any] = json.loads((pytester.path / "report.json").read_text("utf-8"))
    assert found["format"] == 1
    return list(found["suites"])


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_the_example_of_the_readme(pytester: pytest.Pytester, mode: str) -> None:
    assert _EXAMPLE is not None
    assert _OVERRIDE is not None
    failing = _OVERRIDE[1].replace("super().test_an_item_lives_to_the_millisecond()", "assert False")
    assert "assert False" in failing
    source = _EXAMPLE[1] + failing
    pytester.makepyfile(test_conformance=source)
    options = [
        "-o",
        f"asyncio_mode={mode}",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
        "--conformance-json=report.json",
    ]
    result = _run(pytester, *options, "-k", "etag or guard or millisecond or published or health")
    assert result.ret == 0, result.stdout.str()
    first, second = _report(pytester)
    for suite in (first, second):
        assert suite["conforms"]
        assert (suite["driver"], suite["server"]) == ("MemoryDriver", "memory")
        assert suite["counts"]["passed"] > 5
    assert (first["counts"]["xfail"], second["counts"]["xfail"]) == (0, 1)


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_four_words(pytester: pytest.Pytester, workers: list[str]) -> None:
    pytester.makepyfile(test_words=_WORDS)
    result = _run(pytester, "-p", "no:asyncio", *workers, "--conformance-json=report.json", "-k", _SELECTED)
    assert result.ret == 1
    (suite,) = _report(pytester)
    outcomes = {test["test"]: (test["outcome"], test["reason"]) for test in suite["tests"]}
    assert outcomes["test_none_comes_first"] == ("xfail", "known since 1.2")
    assert outcomes["test_nothing_to_do"][0] == "failed", "an xfail that passes is out of date"
    assert outcomes["test_of_my_own"][0] == "passed"
    assert outcomes["test_left_out"] == ("not tested", "no server here")
    assert outcomes["test_a_driver_that_cannot_watch_says_so"][0] == "failed"
    word, reason = outcomes["test_puts_and_deletes_are_hinted"]
    assert word == "not declared"
    assert reason == "watch=True (the driver declares watch=False)"
    assert not suite["conforms"]
    assert suite["version"] == "1"
    assert suite["capabilities"]["watch"] is False
    assert {test["section"] for test in suite["tests"]} >= {"watching", "grouping", "lifecycle"}
    shown = result.stdout.str()
    assert "not declared: " in shown
    assert "xfail: test_none_comes_first: known since 1.2" in shown
    assert "not tested: test_left_out: no server here" in shown


def test_the_plug_in_is_inert_elsewhere(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing_was_imported():
            assert "limpet_conformance._plugin" in sys.modules
            loaded = {"limpet", "hypothesis.stateful", "limpet_conformance._suite"} & set(sys.modules)
            assert not loaded, loaded

        class TestOthers:
            def test_others(self):
                pass
        """
    )
    result = _run(pytester, "-p", "no:asyncio", "-p", "no:hypothesispytest", "--conformance-json=report.json")
    assert result.ret == 0, result.stdout.str()
    assert "Limpet conformance" not in result.stdout.str()
    assert json.loads((pytester.path / "report.json").read_text("utf-8")) == {"format": 1, "suites": []}


def test_run_without_a_test_module(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    assert run("memory://", json_path=report, select="etag or health") == 0
    (suite,) = json.loads(report.read_text("utf-8"))["suites"]
    assert suite["driver"] == "MemoryDriver"
    assert suite["conforms"]
    assert "MemoryDriver on memory 1" in capfd.readouterr().out
    assert run("memory://", Capabilities(), select="test_what_is_declared_is_what_is_found") == 1


async def test_run_takes_empty_places_only(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/used.db"
    async with driver_from_url(url) as driver:
        await driver.apply([Put("precious", "x")])
    import asyncio

    with pytest.raises(ConfigurationError, match="is not empty"):
        await asyncio.to_thread(run, url)
    async with driver_from_url(url) as driver:
        assert (await driver.get(["precious"]))[0] is not None
        await driver.clear("")
    assert await asyncio.to_thread(run, url, select="test_pages_of_every_size or test_deleted_stays") == 0
    async with driver_from_url(url) as driver:
        assert not (await driver.scan(Range(""))).items, "the place was not emptied again"


def test_the_table_of_a_page_is_written_anew(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_words=_WORDS)
    page = pytester.path / "page.md"
    page.write_text("# Drivers\n\n<!-- conformance table -->\nold\n<!-- end of the conformance table -->\nThe end.\n")
    _run(pytester, "-p", "no:asyncio", "-k", "test_health or test_left_out", "--conformance-table", str(page))
    written = page.read_text()
    assert written.startswith("# Drivers\n\n<!-- conformance table -->\n| driver | on |")
    assert written.endswith("<!-- end of the conformance table -->\nThe end.\n")
    assert "| MemoryDriver | " in written
    assert ", **1 not tested**" in written
    assert "old" not in written


def test_a_page_without_a_place_for_the_table_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_words=_WORDS)
    page = pytester.path / "page.md"
    page.write_text("# Drivers\n")
    result = _run(pytester, "-p", "no:asyncio", "-k", "test_health", "--conformance-table", str(page))
    assert result.ret
    assert "has no markers for the table" in "\n".join([*result.outlines, *result.errlines])
    assert page.read_text() == "# Drivers\n"
