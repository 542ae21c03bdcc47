"""Servers that are made to fail, and the table of what happened then: a row for each fault, a column for each server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from uuid import uuid4

import pytest
from limpet import UnavailableError
from limpet.driver import Driver, Put
from limpet.opening import driver_from_url
from limpet_conformance.servers import Server, find, running

PLACE = {"postgresql": "schema", "mysql": "table", "mariadb": "table", "redis": "base", "mongodb": "collection"}
"""Every kind of server, and the option that makes a place of one's own on it."""

FAULTS = {
    "killed": "killed (SIGKILL) in the middle of writes, started again",
    "stopped": "stopped (SIGSTOP) for longer than the time-out, then continued",
    "hangs": "does not answer any more",
    "slow": "answers slowly",
    "restarted": "started again while nobody called",
    "cut before": "the connection cut before the server acted",
    "cut after": "the connection cut after the server acted, its answer lost",
    "half-open": "connections half-open: the other side is gone and nobody said so",
    "busy": "every connection busy",
    "credentials": "wrong user or password",
    "absent": "not there when the driver opens",
    "disk full": "no room left on the disk",
    "cancelled": "calls cancelled half-way",
}
"""The rows of the table."""

WRONG = {
    "test_a_cancelled_write_costs_no_later_one": "its transactions are not isolated",
    "test_credentials_that_are_wrong": "it knows no users",
    "test_every_connection_is_busy": "it is too slow for a thousand calls on one connection",
    "test_what_was_acknowledged_outlives_a_kill_in_the_middle_of_writes": "its transactions are not isolated",
}
"""What cannot be learned from the stand-in for MongoDB. On MongoDB these run, and fill the table."""

BEGIN, END = "<!-- the table: nox -s faults -->", "<!-- end of the table -->"
_FAULT = "limpet_fault"


@pytest.fixture
def faults() -> dict[str, str]:
    return FAULTS


@pytest.fixture
def place() -> dict[str, str]:
    return PLACE


@dataclass(frozen=True, slots=True)
class Site:
    """A server of one kind, and drivers on it."""

    kind: str
    server: Server

    def url(self, through: str | None = None, **options: object) -> str:
        """A URL with options that give up soon, on a place of its own unless `base` names one; `through` is a proxy's."""
        options = {"timeout": 3, "connect_timeout": 3, "pool_size": 4, "base": f"s{uuid4().hex}", **options}
        query = "&".join(f"{PLACE[self.kind] if name == 'base' else name}={said}" for name, said in options.items())
        url = through or self.server.url
        return f"{url}{'&' if '?' in url else '?'}{query}"

    def driver(self, through: str | None = None, **options: object) -> Driver:
        return driver_from_url(self.url(through, **options))

    async def again(self, driver: Driver, put: Put) -> float:
        """Write until the server is there again; answer how many seconds that took."""
        started = monotonic()
        while True:
            try:
                await driver.apply([put])
                return monotonic() - started
            except UnavailableError:
                assert monotonic() < started + 30, "it does not come back"
                await asyncio.sleep(0.05)


_LOST_SOCKETS = pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning")
"""pymongo loses a socket where its client is closed while it connects; the garbage collector closes it."""


_MARKS = {
    "mongodb": [_LOST_SOCKETS, pytest.mark.exhaustive],
    "mysql": [pytest.mark.exhaustive],
    "mariadb": [pytest.mark.exhaustive],
}


@pytest.fixture(scope="module", params=[pytest.param(kind, marks=_MARKS.get(kind, [])) for kind in PLACE])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def site(kind: str) -> Iterator[Site]:
    """On a server of this module's own: the others must not notice when it dies."""
    if not running(kind).ours:
        pytest.skip("the server belongs to somebody else: it is not killed")
    own = find(kind)
    yield Site(kind, own)
    own.end()


@pytest.fixture(scope="session")
def new_site() -> Callable[[str, Server], Site]:
    """What makes a site of a server of one's own."""
    return Site


@pytest.fixture
async def driver(site: Site) -> AsyncIterator[Driver]:
    async with site.driver() as driver:
        yield driver


@pytest.fixture
def happened(
    request: pytest.FixtureRequest, kind: str, record_property: Callable[[str, object], None]
) -> Callable[[str], None]:
    """Tell the table what happened; the row is the test's marker `fault`."""
    (fault,) = request.node.get_closest_marker("fault").args
    assert fault in FAULTS
    origin = running(kind).origin
    title = f"{kind}: {origin}" if origin.startswith("stand-in") else kind

    def tell(what: str) -> None:
        record_property(_FAULT, [fault, kind, title, what])

    if title != kind and (reason := WRONG.get(getattr(request.node, "originalname", ""))) is not None:
        tell(f"not tried on the stand-in: {reason}")
        pytest.skip(f"{origin}: {reason}")
    return tell


@pytest.fixture(autouse=True)
def not_on_a_stand_in(request: pytest.FixtureRequest) -> None:
    """The same for what has no row in the table."""
    if "kind" not in request.fixturenames or request.node.get_closest_marker("fault") is not None:
        return
    origin = running(request.getfixturevalue("kind")).origin
    reason = WRONG.get(getattr(request.node, "originalname", ""))
    if reason is not None and origin.startswith("stand-in"):
        pytest.skip(f"{origin}: {reason}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", metavar="PAGE", help="write what happened into the table of this page")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(name): the row of the fault table that this test fills")
    config.pluginmanager.register(_Table(config))


class _Table:
    """Gathers what happened, in the process that reports, and writes it."""

    def __init__(self, config: pytest.Config) -> None:
        self.page = config.getoption("--fault-table", None)
        self.cells: dict[tuple[str, str], str] = {}
        self.titles: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, said in report.user_properties:
            told = report.skipped or (report.when == "call" and report.passed)
            if name == _FAULT and told and isinstance(said, list):
                fault, kind, self.titles[kind], what = said
                self.cells[fault, kind] = what

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.page is None or hasattr(session.config, "workerinput"):
            return
        missing = [f"{fault} on {kind}" for fault in FAULTS for kind in PLACE if (fault, kind) not in self.cells]
        if missing:
            raise pytest.UsageError(f"the table was not written, these cells are empty: {', '.join(missing)}")
        page = Path(self.page)
        before, _, rest = page.read_text("utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        page.write_text(f"{before}{BEGIN}\n{self.table()}{END}{after}", "utf-8")

    def table(self) -> str:
        """Faults down, servers across."""
        rows = [["", *(self.titles[kind] for kind in PLACE)], ["---"] * (len(PLACE) + 1)]
        rows += [[f"**{title}**", *(self.cells[fault, kind] for kind in PLACE)] for fault, title in FAULTS.items()]
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)
