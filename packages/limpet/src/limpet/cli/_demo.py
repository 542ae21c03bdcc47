"""`limpet demo`: a conversation and a counter on SQLite, killed and resumed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.panel import Panel

from .._create import create_persistence, create_storage
from ..driver.kit import hide_password
from ..records import Message
from ._output import fail, out, run, table

__all__ = ["demo"]

_KILL_AFTER = 25
_MESSAGES = 60


def demo(
    url: Annotated[
        str | None,
        typer.Option(help="The database to use. Default: a SQLite file in a temporary folder, deleted afterwards."),
    ] = None,
) -> None:
    """Save a conversation and a counter, kill the process halfway through, and check that nothing acknowledged is lost."""
    if url is not None:
        _play(url)
        return
    with tempfile.TemporaryDirectory(prefix="limpet-demo-") as folder:
        _play(f"sqlite:///{Path(folder, 'agent.db').as_posix()}")


def _play(url: str) -> None:
    out.print(Panel.fit(f"An agent talks to itself on [bold]{hide_password(url)}[/]", style="cyan"))
    told = _work(url, kill_after=_KILL_AFTER)
    out.print(
        f"  [bold]{told}[/] messages were acknowledged, then the process was [bold red]killed[/] (SIGKILL) while it was writing"
    )
    messages, counter = run(_read(url))
    _show(messages[-3:])
    if len(messages) < told or counter < told:
        fail(
            f"only {len(messages)} messages and a counter of {counter} were found: this should never happen, please report it"
        )
    out.print(
        f"  a new process finds [bold green]{len(messages)} messages[/] and a counter of [bold green]{counter}[/]: nothing acknowledged is lost"
    )
    told = _work(url, kill_after=None)
    messages, counter = run(_read(url))
    out.print(
        f"  it continues where the other stopped: [bold green]{len(messages)} messages[/], counter [bold green]{counter}[/]"
    )
    numbers = [message.seq for message in messages]
    if numbers != list(range(len(messages))) or told != len(messages):
        fail("the conversation has a gap: this should never happen, please report it")
    out.print(Panel.fit("[bold green]Whatever the sea does, the limpet is still on its rock.[/]", style="green"))


def _work(url: str, kill_after: int | None) -> int:
    """Run the worker; return how many messages were acknowledged to it."""
    command = [sys.executable, "-m", "limpet.cli._demo_worker", url, str(_MESSAGES)]
    told = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        for line in worker.stdout:
            told = int(line)
            if kill_after is not None and told >= kill_after:
                worker.kill()
                break
        told = max([told, *map(int, worker.stdout.read().split())])
        if worker.wait() != 0 and kill_after is None:
            fail("the worker process failed: see its message above")
    return told


async def _read(url: str) -> tuple[list[Message], int]:
    async with create_persistence(url) as persistence:
        messages = list(await persistence.sessions.get_messages("demo"))
    async with create_storage(url) as storage:
        counter = await storage.get_item("demo:counter", 0)
    return messages, counter


def _show(messages: list[Message]) -> None:
    shown = table("seq", "time", "role", "content")
    for message in messages:
        moment = "" if message.timestamp is None else message.timestamp.strftime("%H:%M:%S.%f")[:-3]
        shown.add_row(str(message.seq), moment, message.role or "", str(getattr(message, "content", "")))
    out.print(shown)
