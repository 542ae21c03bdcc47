"""The longest waits that the tests of many processes saw, at the end of the report."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_WAIT = "limpet_longest_wait"


@pytest.fixture
def waited(request: pytest.FixtureRequest) -> Callable[[float, str], None]:
    """Report how many seconds the unluckiest waited, and for what; nobody may wait for a minute."""

    def say(seconds: float, what: str) -> None:
        request.node.user_properties.append((_WAIT, f"{seconds:6.2f} s {what}: {request.node.callspec.id}"))
        assert seconds < 60

    return say


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    waits = [
        str(said)
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, said in report.user_properties
        if name == _WAIT
    ]
    if waits:
        terminalreporter.section("longest waits")
        for line in sorted(waits, reverse=True):
            terminalreporter.line(line)


_ENOUGH = ("sqlite", "postgresql", "redis")
"""Many processes take many seconds: where there is only half an hour, an embedded driver and two servers stand for the rest."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/processes/" in item.path.as_posix() and "lasting_url" in getattr(item, "fixturenames", ()):
            place = getattr(item, "callspec").params.get("lasting_url")  # noqa: B009 - only functions have one
            if place not in _ENOUGH:
                item.add_marker(pytest.mark.exhaustive)
