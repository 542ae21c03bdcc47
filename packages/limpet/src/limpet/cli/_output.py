"""Shared by all commands: running async code, printing errors on one line, JSON for scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, NoReturn, TypeAlias, TypeVar

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .._errors import LimpetError
from .._printable import printable, printable_json
from ..driver.kit import hide_password

__all__ = ["AsJson", "Place", "as_text", "fail", "out", "run", "show_json", "table"]

T = TypeVar("T")

out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)

Place: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        envvar="LIMPET_URL",
        show_envvar=True,
        help="The database: sqlite:///data/agent.db, fs://./data, ...",
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine. A `LimpetError` becomes one line on stderr and exit status 1."""
    try:
        return asyncio.run(work)
    except LimpetError as error:
        fail(str(error))


def fail(message: str, status: int = 1) -> NoReturn:
    """Print an error and exit."""
    _err.print(f"[bold red]error[/] {as_text(hide_password(message))}", soft_wrap=True)
    raise typer.Exit(status)


def as_text(text: object) -> str:
    """Return untrusted text for `out.print`: markup and control characters have no effect."""
    return escape(printable(str(text)))


def show_json(value: Any) -> None:
    """Print JSON, indented, without colours or wrapping, and without control characters."""
    typer.echo(printable_json(to_json(value, indent=2).decode()))


def table(*columns: str, title: str | None = None) -> Table:
    """A plain table."""
    made = Table(
        *columns,
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=None,
        padding=(0, 2, 0, 0),
    )
    made.collapse_padding = True
    return made
