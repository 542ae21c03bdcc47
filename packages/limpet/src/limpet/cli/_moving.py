"""`limpet copy` and `limpet verify`: move a database to another driver, and compare two."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from ..driver.kit import hide_password
from ..moving import OnProgress, Progress
from ._output import AsJson, Place, as_text, fail, out, run, show_json, table

if TYPE_CHECKING:
    from ..moving import CopyReport

__all__ = ["bar", "copy_", "verify_"]

Target = Annotated[str, typer.Argument(metavar="TARGET", help="The database to copy to.", show_default=False)]


def copy_(
    url: Place,
    target: Target,
    follow_: Annotated[
        bool,
        typer.Option(
            "--follow", help="Keep copying what changes, until you press Ctrl-C. Stop all writers before that."
        ),
    ] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Make a complete copy equal again. Deletes what was written to it since."),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete everything in the target first. Asks, unless --yes.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    json: AsJson = False,
) -> None:
    """Copy a database to another driver. If it is interrupted, run it again: it continues where it stopped.

    The target must be empty. It is encrypted if LIMPET_ENCRYPTION_KEY or LIMPET_ENCRYPTION_KEY_FILE is set. The source may
    be in use. Exits with status 1 if the two are not equal at the end.
    """
    from ..moving import copy, follow  # here: other commands need none of this

    if replace and not yes:
        typer.confirm(f"Delete everything in {hide_password(target)}?", abort=True)

    async def work(progress: OnProgress) -> CopyReport:
        if not follow_:
            return await copy(url, target, replace=replace, again=again, progress=progress)
        until = asyncio.Event()
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # Windows, where Ctrl-C ends the command, and the next run continues
                loop.add_signal_handler(each, until.set)
        return await follow(url, target, until=until, replace=replace, again=again, progress=progress)

    with bar(json) as progress:
        report = run(work(progress))
    if json:
        show_json(asdict(report))
    else:
        continued = ", continuing an interrupted copy" if report.resumed else ""
        out.print(f"copied {report.copied:,} items, {decimal(report.bytes)}{continued}; deleted {report.deleted:,}")
        for key, why in report.damaged.items():
            out.print(f"[bold red]damaged[/] {as_text(key)}: {as_text(why)}", soft_wrap=True)
    if report.damaged:
        fail(f"{len(report.damaged):,} items could not be read, and are not in the target")
    if not report.exact:
        fail("the source kept changing: stop everything that writes to it, and run this again")


def verify_(
    url: Place,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The database to compare with.", show_default=False)],
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Name at most this many of each difference.")] = 20,
    json: AsJson = False,
) -> None:
    """Compare two databases, item by item. Exits with status 1 if they differ."""
    from ..moving import verify

    with bar(json) as progress:
        found = run(verify(url, other, limit=limit, progress=progress))
    if json:
        show_json({**asdict(found), "equal": found.equal})
    else:
        shown = table("kind", "items", "", "bytes", "", "equal")
        for kind in sorted(found.first.keys() | found.second.keys()):
            one, two = found.first.get(kind), found.second.get(kind)
            shown.add_row(
                as_text(kind),
                *(f"{each.items:,}" if each else "0" for each in (one, two)),
                *(f"{each.bytes:,}" if each else "0" for each in (one, two)),
                "yes" if one and two and one.digest == two.digest else "[bold red]no[/]",
            )
        out.print(shown)
        for word, keys in (("missing", found.missing), ("extra", found.extra), ("different", found.different)):
            for key in keys:
                out.print(f"[bold red]{word}[/] {as_text(key)}", soft_wrap=True)
        for key, why in found.damaged.items():
            out.print(f"[bold red]damaged[/] {as_text(key)}: {as_text(why)}", soft_wrap=True)
    if not found.equal:
        fail(f"{found.differences:,} items differ")
    if not json:
        out.print("equal")


@contextmanager
def bar(quiet: bool) -> Iterator[OnProgress]:
    """Yield what shows progress on a terminal, for `progress=`."""
    with Bar(
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed:,} items"),
        TextColumn("{task.fields[more]}"),
        TimeElapsedColumn(),
        console=out,
        transient=True,
        disable=quiet or not out.is_terminal,
    ) as shown:
        task = shown.add_task("", total=None, more="")

        def show(step: Progress) -> None:
            more = decimal(step.bytes) if step.bytes else ""
            if step.behind is not None:
                more += f", {step.behind:,} behind" if step.behind else ", up to date"
            shown.update(task, description=step.phase, completed=step.items, more=more)

        yield show
