"""`limpet keygen` and `limpet rotate`: generate encryption keys, and rotate a database to a new one."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

from .._errors import WrongKeyError
from ..opening import open_as_written
from ..wrappers import Rotation
from ..wrappers import rotate as rotate_driver
from ..wrappers.encryption import new_key
from ._output import AsJson, Place, as_text, fail, out, run, show_json

__all__ = ["keygen", "rotate"]

KeyFile: TypeAlias = Path | None


def keygen(
    file: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Write the key to this file, readable only by you, instead of printing it.",
        ),
    ] = None,
) -> None:
    """Generate an encryption key: 32 random bytes, as 64 hex characters."""
    if file is None:
        typer.echo(new_key())
        return
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as written:
            written.write(f"{new_key()}\n")
    except FileExistsError:
        fail(f"{file} already exists, and overwriting a key loses it: choose another file")
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")
    out.print(f"wrote {as_text(file)}: keep a copy elsewhere; without it, nothing can be read")


def rotate(
    url: Place,
    key: Annotated[
        KeyFile,
        typer.Option("--key-file", metavar="FILE", help="The new key. Default: LIMPET_ENCRYPTION_KEY or ..._KEY_FILE."),
    ] = None,
    old_key: Annotated[
        KeyFile,
        typer.Option(
            "--old-key-file",
            metavar="FILE",
            help="The current key. Default: LIMPET_ENCRYPTION_OLD_KEY or ..._OLD_KEY_FILE.",
        ),
    ] = None,
    reseal: Annotated[
        bool,
        typer.Option(
            "--reseal",
            help="Leave nothing under the old key, and refuse what is: for a key that has leaked. Takes leases that last "
            "longer than 30 seconds from their owners.",
        ),
    ] = False,
    json: AsJson = False,
) -> None:
    """Rotate an encrypted database to a new key while others keep using it.

    First give both keys to every service. If the command is interrupted, run it again: it continues where it stopped.
    """

    async def work() -> Rotation:
        try:
            driver = await open_as_written(url, key=key, old_keys=[] if old_key is None else [old_key], rotating=True)
        except WrongKeyError as error:
            fail(f"{error}. Pass the new key as --key-file and the current one as --old-key-file")
        try:
            with Progress(
                SpinnerColumn(),
                TextColumn("{task.completed} items"),
                console=out,
                transient=True,
                disable=json or not out.is_terminal,
            ) as bar:
                task = bar.add_task("encrypting", total=None)
                return await rotate_driver(
                    driver, reseal=reseal, progress=lambda step: bar.update(task, completed=step.examined)
                )
        finally:
            await driver.close()

    done = run(work())
    if json:
        show_json(asdict(done))
    else:
        out.print(
            f"encrypted {done.sealed:,} of {done.examined:,} items again: from now on, only the new key opens this database"
        )
