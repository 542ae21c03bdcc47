"""`limpet ls`, `get`, `set`, `rm`: plain keys, and a listing of all encoded keys."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from pydantic_core import from_json, to_json

from .._printable import printable
from ..driver.kit import scan_all
from ._output import AsJson, Place, fail, out, run, show_json
from ._place import storage_at

__all__ = ["get", "ls", "rm", "set_"]

Key = Annotated[str, typer.Argument(metavar="KEY", help="For example users:alice.")]


def ls(
    url: Place,
    base: Annotated[str, typer.Argument(metavar="[BASE]", help="List only keys below this one.")] = "",
    everything_: Annotated[
        bool,
        typer.Option(
            "--all",
            help="List all encoded keys of the database, including sessions and images. BASE is then an encoded key.",
        ),
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="List at most this many.")] = 1000,
    json: AsJson = False,
) -> None:
    """List keys, in order."""

    async def work() -> list[str]:
        keys: list[str] = []
        async with storage_at(url) as storage:
            if everything_:
                async for item in scan_all(storage.driver, base, values=False):
                    keys.append(item.key)
                    if len(keys) > limit:
                        break
            else:
                async for key in storage.get_keys(base):
                    keys.append(key)
                    if len(keys) > limit:
                        break
        return keys

    keys = run(work())
    if json:
        show_json(keys[:limit])
        return
    for key in keys[:limit]:
        typer.echo(printable(key))
    if len(keys) > limit:
        typer.echo(f"... there are more than {limit}: raise --limit, or pass a BASE", err=True)


def get(
    url: Place,
    key: Key,
    meta: Annotated[
        bool, typer.Option("--meta", help="Print etag, write time, expiry and metadata instead of the value.")
    ] = False,
) -> None:
    """Print a value: JSON, or raw bytes unchanged. Exits with status 1 if the key does not exist."""

    async def work() -> tuple[bool, Any]:
        async with storage_at(url) as storage:
            if meta:
                found = await storage.get_meta(key)
                return found is not None, found
            return await storage.has_item(key), await storage.get_item(key)

    found, value = run(work())
    if not found:
        fail(f"there is no item {key!r}")
    if isinstance(value, bytes):
        sys.stdout.buffer.write(value)
    else:
        show_json(value)


def set_(
    url: Place,
    key: Key,
    value: Annotated[str, typer.Argument(help="JSON, or any text with --text. '-' reads it from standard input.")],
    text: Annotated[bool, typer.Option("--text", help="Store the value as text, not as JSON.")] = False,
    ttl: Annotated[float | None, typer.Option(help="Seconds until the item expires.")] = None,
) -> None:
    """Store a value."""
    written = sys.stdin.read() if value == "-" else value
    try:
        parsed = written if text else from_json(written)
    except ValueError:
        shown = to_json(written[:40]).decode()
        fail(f"{shown} is not JSON: quote text as JSON ('\"like this\"'), or add --text")

    async def work() -> str:
        async with storage_at(url, new=True) as storage:
            return await storage.set_item(key, parsed, ttl=ttl)

    typer.echo(run(work()))


def rm(
    url: Place,
    keys: Annotated[list[str] | None, typer.Argument(metavar="KEY...", help="The items to remove.")] = None,
    base: Annotated[str | None, typer.Option("--below", help="Remove all items below this key instead.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation with --below.")] = False,
) -> None:
    """Remove items."""
    if bool(keys) == (base is not None):
        fail("pass the keys to remove, or --below, but not both", 2)
    if base is not None and not yes:
        typer.confirm(
            f"Remove all items below {base!r}?" if base else "Remove all plain items of the database?", abort=True
        )

    async def work() -> int:
        async with storage_at(url) as storage:
            if base is not None:
                return await storage.clear(base)
            return sum([await storage.remove_item(key) for key in keys or ()])

    removed = run(work())
    out.print(f"removed {removed}")
    if keys and removed < len(keys):
        raise typer.Exit(1)
