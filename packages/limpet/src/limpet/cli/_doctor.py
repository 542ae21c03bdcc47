"""`limpet doctor`: checks a database, and says what to do about problems."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from time import perf_counter
from typing import Annotated, Any

import typer

from .._errors import CorruptDataError, LimpetError
from ..driver import Driver, Put, key, name, new_etag, text
from ..driver.kit import hide_password, scan_all
from ..opening import MANIFEST, open_as_written
from ..plugins import broken_plugins
from ..stores import Persistence
from ..structures import GARBAGE
from ._output import AsJson, Place, as_text, out, run, show_json, table

__all__ = ["doctor"]

_PROBES = 20


@dataclass(slots=True)
class _Report:
    url: str
    server: str = ""
    version: str = ""
    details: dict[str, str] = field(default_factory=dict)
    capabilities: dict[str, Any] = field(default_factory=dict)
    read_ms: float | None = None
    write_ms: float | None = None
    documents: int = 0
    items: int = 0
    garbage: int = 0
    problems: list[str] = field(default_factory=list)


def doctor(
    url: Place,
    repair: Annotated[bool, typer.Option("--repair", help="Repair index entries that are missing or wrong.")] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also measure writes, with a probe item that expires after a minute.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Read every item, and compare records with their index entries.")
    ] = True,
    json: AsJson = False,
) -> None:
    """Check a database: version, capabilities, latency, integrity, and what to do about problems.

    Writes nothing unless you pass --repair or --probe. Exits with status 1 if there is a problem.
    """
    report = run(_examine(url, repair=repair, probe=probe, check=check))
    if json:
        show_json(asdict(report))
    else:
        _show(report)
    if report.problems:
        raise typer.Exit(1)


async def _examine(url: str, *, repair: bool, probe: bool, check: bool) -> _Report:
    report = _Report(hide_password(url))
    report.problems += map(str, broken_plugins())
    driver = await open_as_written(url, batching=False, reading=not (repair or probe))
    try:
        await _ask(driver, report, probe)
        await _measure(driver, report, probe)
        if check or repair:
            await _check(Persistence(driver), report, repair)
    except LimpetError as error:
        report.problems.append(str(error))
    finally:
        await driver.close()
    return report


async def _ask(driver: Driver, report: _Report, probe: bool) -> None:
    report.capabilities = asdict(driver.capabilities)
    health = await driver.health(probe=probe)
    report.server, report.version, report.details = health.server, health.version, health.details
    report.problems += health.problems


async def _measure(driver: Driver, report: _Report, probe: bool) -> None:
    reads, writes = [], []
    at = key(name("doctor"), text(new_etag()))
    for _ in range(_PROBES):
        started = perf_counter()
        await driver.get([MANIFEST])
        reads.append(perf_counter() - started)
        if probe:
            started = perf_counter()
            await driver.apply([Put(at, "probe", None, 60_000)])
            writes.append(perf_counter() - started)
    report.read_ms = round(median(reads) * 1000, 3)
    report.write_ms = round(median(writes) * 1000, 3) if writes else None


async def _check(persistence: Persistence, report: _Report, repair: bool) -> None:
    records = (persistence.containers, persistence.images, persistence.sessions)
    more = (persistence.threads, persistence.feedback, persistence.approvals, persistence.blobs)
    for store in (*records, *more):
        try:
            found = await store.repair(dry_run=not repair)
        except CorruptDataError as error:
            report.problems.append(str(error))
            continue
        report.documents += found.documents
        report.problems += [
            f"the record at {at} cannot be read: save it again, or delete it" for at in found.unreadable
        ]
        if found.added or found.removed:
            report.problems.append(
                f"{found.added} index entries were missing and {found.removed} were wrong; they are repaired now. "
                "Something other than Limpet changed the data"
                if repair
                else f"{found.added} index entries are missing and {found.removed} are wrong: something other than "
                "Limpet changed the data. Repair them with 'limpet doctor --repair'"
            )
    try:
        async for item in scan_all(persistence.driver, ""):
            report.items += 1
            report.garbage += item.key.startswith(f"{GARBAGE}!")
    except CorruptDataError as error:
        report.problems.append(f"{error}. Restore it from a backup, or delete it; the items after it were not checked")


def _show(report: _Report) -> None:
    made = table(title=as_text(report.url))
    made.add_column(style="bold")
    made.add_column()
    rows = {"server": f"{report.server} {report.version}".strip(), **report.details}
    abilities = report.capabilities
    words = [
        f"{word}={value}"
        for word, value in abilities.items()
        if not isinstance(value, bool) and not word.startswith("max_")
    ]
    rows["capabilities"] = ", ".join([*words, *(word for word, value in abilities.items() if value is True)])
    limits = (f"{word.removeprefix('max_')} {value:,}" for word, value in abilities.items() if word.startswith("max_"))
    rows["limits"] = ", ".join(limits)
    if report.read_ms is not None:
        rows["read latency"] = f"{report.read_ms} ms (median of {_PROBES})"
    if report.write_ms is not None:
        rows["write latency"] = f"{report.write_ms} ms (median of {_PROBES})"
    rows["items read"] = f"{report.items:,}"
    rows["records checked"] = f"{report.documents:,}, with their index entries"
    if report.garbage:
        rows["garbage"] = (
            f"{report.garbage} deleted conversations; 'await persistence.collect_garbage()' frees their space"
        )
    for word, value in rows.items():
        made.add_row(word, as_text(value))
    out.print(made)
    for problem in report.problems:
        out.print(f"[bold red]problem[/] {as_text(problem)}")
    if not report.problems:
        out.print("[bold green]healthy[/]")
