"""`limpet export` and `limpet import`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..moving import OnConflict, What
from ._moving import bar
from ._output import AsJson, Place, as_text, fail, out, run, show_json

__all__ = ["export_", "import_"]


def export_(
    url: Place,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Ends with .jsonl, .md or .csv, and .gz or .zst to compress it.", show_default=False
        ),
    ],
    what: Annotated[What, typer.Option("--what", help="Everything, or conversations.")] = "all",
    ids: Annotated[list[str] | None, typer.Option("--id", help="Only this thread or session. May be repeated.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="Only the threads of this user.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an existing file.")] = False,
    json: AsJson = False,
) -> None:
    """Write what is in a database to a file: records for programs (.jsonl), or conversations for people (.md, .csv).

    Exits with status 1 if something could not be read.
    """
    from ..moving import export  # here: other commands need none of this

    with bar(json) as progress:
        report = run(export(url, file, what=what, ids=ids or (), user_id=user, replace=replace, progress=progress))
    if json:
        show_json(asdict(report))
    else:
        out.print(f"wrote {report.records:,} records to {as_text(file)}", soft_wrap=True)
        for key, why in report.damaged.items():
            out.print(f"[bold red]damaged[/] {as_text(key)}: {as_text(why)}", soft_wrap=True)
    if report.damaged:
        fail(f"{len(report.damaged):,} could not be read, and are not in the file")


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .jsonl file that limpet export wrote.", show_default=False)
    ],
    url: Place,
    on_conflict: Annotated[
        OnConflict, typer.Option("--on-conflict", help="What to do with records that are there already, and differ.")
    ] = "stop",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")] = False,
    json: AsJson = False,
) -> None:
    """Add what an export holds to a database. If it is interrupted, run it again."""
    from ..moving import import_file

    with bar(json) as progress:
        report = run(import_file(file, url, on_conflict=on_conflict, dry_run=dry_run, progress=progress))
    if json:
        show_json(asdict(report))
        return
    would = "would be " if dry_run else ""
    out.print(
        f"{report.added:,} records {would}added, {report.equal:,} were there already, {report.skipped:,} {would}skipped, "
        f"{report.replaced:,} {would}replaced",
        soft_wrap=True,
    )
    for each in report.conflicts:
        out.print(f"differs: {as_text(each)}", soft_wrap=True)
