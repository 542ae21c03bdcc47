"""`limpet user export` and `limpet user erase`: one person's data."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ._moving import bar
from ._output import AsJson, Place, as_text, fail, out, run, show_json, table

__all__ = ["user"]

user = typer.Typer(help="One person's data: write it to a file, or erase it.", no_args_is_help=True)

User = Annotated[str, typer.Argument(metavar="USER", help="The id of the user.", show_default=False)]


@user.command("export")
def export_(
    url: Place,
    user_id: User,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Ends with .jsonl, .jsonl.gz or .jsonl.zst.", show_default=False)
    ],
    replace: Annotated[bool, typer.Option("--replace", help="Replace an existing file.")] = False,
    json: AsJson = False,
) -> None:
    """Write a user's threads, with messages and feedback, and their feedback elsewhere to a file."""
    from ..moving import export_user  # here: other commands need none of this

    report = run(export_user(url, user_id, file, replace=replace))
    if json:
        show_json(asdict(report))
    else:
        out.print(f"wrote {report.records:,} records to {as_text(file)}", soft_wrap=True)
    if report.damaged:
        fail(f"{len(report.damaged):,} could not be read, and are not in the file")


@user.command("erase")
def erase(
    url: Place,
    user_id: User,
    sessions: Annotated[list[str] | None, typer.Option("--session", help="Also this session. May be repeated.")] = None,
    records: Annotated[
        list[str] | None,
        typer.Option("--record", metavar="NAMESPACE:KEY", help="Also this key-value record. May be repeated."),
    ] = None,
    states: Annotated[
        list[str] | None,
        typer.Option("--state", metavar="NAMESPACE:KEY", help="Also this agent state. May be repeated."),
    ] = None,
    channels: Annotated[
        list[str] | None, typer.Option("--channel", help="Also this channel of events. May be repeated.")
    ] = None,
    blobs: Annotated[list[str] | None, typer.Option("--blob", help="Also this blob. May be repeated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be erased, and erase nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    json: AsJson = False,
) -> None:
    """Erase a user's threads with everything that belongs to them, and their feedback. If it is interrupted, run it again."""
    from ..moving import Links, erase_user

    if not dry_run and not yes:
        typer.confirm(f"Erase everything of the user {user_id!r}?", abort=True)
    links = Links(
        sessions=sessions or (),
        records=[_pair(each) for each in records or ()],
        states=[_pair(each) for each in states or ()],
        channels=channels or (),
        blobs=blobs or (),
    )
    with bar(json) as progress:
        done = run(erase_user(url, user_id, links=links, dry_run=dry_run, progress=progress))
    if json:
        show_json(asdict(done))
        return
    shown = table("would be erased" if dry_run else "erased", "")
    for kind, count in asdict(done).items():
        if isinstance(count, int):
            shown.add_row(kind, f"{count:,}")
    out.print(shown)
    for thread in done.shared:
        out.print(f"still shared with another user's thread: {as_text(thread)}", soft_wrap=True)
    if not dry_run:
        out.print("Not reached: backups, exports, logs of the server, and free pages of its files.")


def _pair(given: str) -> tuple[str, str]:
    namespace, colon, key = given.rpartition(":")
    if not colon:
        fail(f"{given!r} is not NAMESPACE:KEY", 2)
    return namespace, key
