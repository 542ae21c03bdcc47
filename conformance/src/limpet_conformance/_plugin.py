"""The pytest plug-in: it reports on conformance suites, and leaves all other tests alone.

It declares the marker `requires` and the options `--conformance-json` and `--conformance-table`; it does nothing else
until a module imports `DriverConformance`.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest

from ._report import Outcome, Report, Word
from ._table import write_table

__all__ = ["pytest_addoption", "pytest_configure"]

pytest.register_assert_rewrite("limpet_conformance.sections", "limpet_conformance.machinery")

_PROPERTY = "limpet_conformance"
_NOT_DECLARED = "not declared: "  # the same as in `_requires`, which is only imported when it is needed
_REPORT = pytest.StashKey[Report]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("limpet-conformance")
    group.addoption(
        "--conformance-json", metavar="PATH", default=None, help="write what the conformance suites found as JSON"
    )
    group.addoption(
        "--conformance-table", metavar="PAGE", default=None, help="write what they found into the table of this page"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "requires(**capabilities): run only for drivers that declare these capabilities")
    config.addinivalue_line("markers", "processes: a conformance test that starts other processes")
    config.stash[_REPORT] = Report()
    config.pluginmanager.register(_Collector(config), "limpet-conformance-collector")


def _suite_of(item: pytest.Item) -> Any:
    """Return the conformance class of a test; `None` for other tests."""
    module = sys.modules.get("limpet_conformance._suite")
    cls = getattr(item, "cls", None)
    return cls if module is not None and isinstance(cls, type) and issubclass(cls, module.Section) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    suite = _suite_of(item)
    if suite is None or (report.when != "call" and report.passed):
        return report
    name = getattr(item, "originalname", item.name)
    published = next((vars(base)[name] for base in reversed(suite.__mro__) if name in vars(base)), None)
    about = {
        "suite": item.nodeid.rpartition("::")[0],
        "test": item.name,
        "section": getattr(published, "__module__", "").rpartition(".")[2],
        "facts": getattr(getattr(item, "instance", None), "notes", {}),
        "capabilities": asdict(suite.capabilities),
    }
    report.user_properties.append((_PROPERTY, about))
    return report


class _Collector:
    """Collects the outcomes in the process that reports (with xdist, not those that test)."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        about = next((cast("dict[str, Any]", said) for name, said in report.user_properties if name == _PROPERTY), None)
        if about is None or (report.when == "teardown" and report.passed):
            return
        word, reason = _word(report)
        outcome = Outcome(about["test"], about["section"], word, reason)
        self.config.stash[_REPORT].add(about["suite"], outcome, about["facts"], about["capabilities"])

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        report = self.config.stash[_REPORT]
        if not report.suites:
            return
        terminalreporter.section("Limpet conformance")
        for suite in report.suites.values():
            for line in suite.lines():
                terminalreporter.line(line)

    def pytest_sessionfinish(self) -> None:
        path = self.config.getoption("--conformance-json")
        if path is not None and not hasattr(self.config, "workerinput"):
            self.config.stash[_REPORT].write(Path(path))
        page = self.config.getoption("--conformance-table")
        if page is not None and not hasattr(self.config, "workerinput"):
            write_table(self.config.stash[_REPORT].suites.values(), Path(page))


def _word(report: pytest.TestReport) -> tuple[Word, str]:
    expected = getattr(report, "wasxfail", None)
    if report.skipped and expected is not None:
        return "xfail", str(expected)
    if report.skipped:
        said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        said = said.removeprefix("Skipped: ")
        if said.startswith(_NOT_DECLARED):
            return "not declared", said.removeprefix(_NOT_DECLARED)
        return "not tested", said
    if report.passed and expected is None:
        return "passed", ""
    crash = getattr(report.longrepr, "reprcrash", None)
    said = str(crash.message if crash is not None else report.longrepr)
    return "failed", (said.strip().splitlines() or [""])[0]
