"""`limpet backup`, `backups`, `check` and `restore`."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from ..driver.kit import hide_password
from ._moving import bar
from ._output import AsJson, Place, as_text, fail, out, run, show_json, table

if TYPE_CHECKING:
    from ..moving import Backup, Keep

__all__ = ["backup_", "backups_", "check_", "restore_"]

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder with the backups.", show_default=False)]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A backup: ....limpet.db.zst or .gz.", show_default=False)]
Prefix = Annotated[str, typer.Option("--prefix", help="How the files' names begin.")]

_SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}


def backup_(
    url: Place,
    folder: Folder,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep",
            metavar="30d | 10",
            help="Delete older backups: keep those of this many hours (h), days (d) or weeks (w), or this many. May be given twice.",
        ),
    ] = None,
    prefix: Prefix = "limpet",
    json: AsJson = False,
) -> None:
    """Write everything in a database to a new file, while it is in use.

    What is encrypted in the database stays encrypted in the backup, so no key is needed, but keep the key. Exits with status 1 if
    something could not be read, or the database was written to all the time.
    """
    from ..moving import backup  # here: other commands need none of this

    kept = _keep(keep)
    with bar(json) as progress:
        report = run(backup(url, folder, prefix=prefix, keep=kept, progress=progress))
    if json:
        show_json(asdict(report))
    else:
        size = decimal(report.backup.bytes)
        out.print(f"wrote {as_text(report.backup.path)}: {report.items:,} items, {size}", soft_wrap=True)
        if report.removed:
            out.print(f"deleted {len(report.removed):,} older")
        for key, why in report.damaged.items():
            out.print(f"[bold red]damaged[/] {as_text(key)}: {as_text(why)}", soft_wrap=True)
    if report.damaged:
        fail(f"{len(report.damaged):,} items could not be read, and are not in the backup")
    if not report.consistent:
        fail("the database was written to all the time: what changed at the end may be missing from the backup")


def backups_(folder: Folder, prefix: Prefix = "limpet", json: AsJson = False) -> None:
    """List the backups in a folder, newest first."""

    from ..moving import backups

    async def work() -> list[Backup]:
        return backups(folder, prefix=prefix)

    found = run(work())
    if json:
        show_json([asdict(each) for each in found])
        return
    shown = table("taken (UTC)", "size", "file")
    for each in found:
        shown.add_row(f"{each.taken_at:%Y-%m-%d %H:%M:%S}", decimal(each.bytes), as_text(each.path.name))
    out.print(shown)


def check_(file: File, json: AsJson = False) -> None:
    """Read a whole backup, and say what it contains. Exits with status 1 if it is damaged."""
    from ..moving import check_backup

    with bar(json) as progress:
        found = run(check_backup(file, progress=progress))
    if json:
        show_json(asdict(found))
        return
    shown = table("", "")
    shown.add_row("items", f"{found.items:,}")
    shown.add_row("database", as_text(found.source))
    shown.add_row("taken", f"{found.taken_at:%Y-%m-%d %H:%M:%S} UTC")
    shown.add_row("encrypted", "yes: the database's key is needed to read it" if found.encrypted else "no")
    shown.add_row("consistent", "yes" if found.consistent else "no: the database was written to all the time")
    out.print(shown)


def restore_(
    file: File,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="An empty database.", show_default=False)],
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete everything in the target first. Asks, unless --yes.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    json: AsJson = False,
) -> None:
    """Restore a backup to an empty database, on any driver. If it is interrupted, run it again."""
    from ..moving import restore

    if replace and not yes:
        typer.confirm(f"Delete everything in {hide_password(target)}?", abort=True)
    with bar(json) as progress:
        found = run(restore(file, target, replace=replace, progress=progress))
    if json:
        show_json(asdict(found))
    else:
        out.print(f"restored {found.items:,} items from {found.taken_at:%Y-%m-%d %H:%M:%S} UTC")


def _keep(given: list[str] | None) -> Keep | None:
    from ..moving import Keep

    if not given:
        return None
    count: int | None = None
    age: timedelta | None = None
    for each in given:
        match = re.fullmatch(r"([1-9]\d{0,5})([hdw]?)", each)
        if match is None:
            fail(f"--keep is {each!r}: use a number of backups like 10, or an age like 12h, 30d or 8w", 2)
        if match[2]:
            age = timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
        else:
            count = int(match[1])
    return Keep(count=count, age=age)
