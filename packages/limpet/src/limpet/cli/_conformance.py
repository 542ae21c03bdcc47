"""`limpet conformance`: the published suite on a URL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .._errors import LimpetError
from ._output import fail

__all__ = ["conformance"]


def conformance(
    url: Annotated[str, typer.Argument(metavar="URL", help="An empty database. Its contents are deleted afterwards.")],
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report to this file as JSON.")
    ] = None,
    select: Annotated[
        str, typer.Option("--select", "-k", metavar="EXPRESSION", help="Run only matching tests, like pytest's -k.")
    ] = "",
) -> None:
    """Run the conformance suite on a driver. Exits with status 0 if the driver does everything that it declares."""
    try:
        from limpet_conformance import run
    except ModuleNotFoundError:
        fail("this command requires the extra limpet[conformance]: install it from the same source as limpet")
    try:
        status = run(url, json_path=json, select=select)
    except LimpetError as error:
        fail(str(error))
    raise typer.Exit(status)
