"""`limpet conformance`: the published suite on a URL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .._errors import LimpetError
from ._output import fail

__all__ = ["conformance"]


def conformance(
    url: Annotated[str, typer.Argument(metavar="URL", help="An EMPTY place; it is emptied again.")],
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the report there.")] = None,
    select: Annotated[
        str, typer.Option("--select", "-k", metavar="EXPRESSION", help="Only tests that match, as pytest's -k.")
    ] = "",
) -> None:
    """Run the conformance suite on a driver. Exit status 0 where everything that it declares holds."""
    try:
        from limpet_conformance import run
    except ModuleNotFoundError:
        fail("the conformance suite is the extra limpet[conformance]: install it from where limpet came from")
    try:
        status = run(url, json_path=json, select=select)
    except LimpetError as error:
        fail(str(error))
    raise typer.Exit(status)
