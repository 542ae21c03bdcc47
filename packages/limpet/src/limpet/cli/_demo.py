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
        str | None, typer.Option(help="Where; by default a SQLite file in a temporary folder, removed afterwards.")
    ] = None,
) -> None:
    """Save a conversation and a counter, kill the process in the middle, and find everything it was told is saved."""
    if url is not None:
        _play(url)
        return
    with tempfile.TemporaryDirectory(prefix="limpet-demo-") as folder:
        _play(f"sqlite:///{Path(folder, 'agent.db').as_posix()}")


def _play(url: str) -> None:
    out.print(Panel.fit(f"An agent talks to itself on [bold]{hide_password(url)}[/]", style="cyan"))
    told = _work(url, kill_after=_KILL_AFTER)
    out.print(
        f"  it was told that [bold]{told}[/] messages are saved, then it was [bold red]killed[/] (SIGKILL) while writing on"
    )
    messages, counter = run(_read(url))
    _show(messages[-3:])
    if len(messages) < told or counter < told:
        fail(
            f"only {len(messages)} messages and a counter of {counter} are there: that must never happen, please report it"
        )
    out.print(
        f"  a new process finds [bold green]{len(messages)} messages[/] and a counter of [bold green]{counter}[/]: nothing that was acknowledged is lost"
    )
    told = _work(url, kill_after=None)
    messages, counter = run(_read(url))
    out.print(f"  it goes on where it was: [bold green]{len(messages)} messages[/], counter [bold green]{counter}[/]")
    numbers = [message.seq for message in messages]
    if numbers != list(range(len(messages))) or told != len(messages):
        fail("the conversation has a gap: that must never happen, please report it")
    out.print(Panel.fit("[bold green]Whatever the sea does, the limpet is still on its rock.[/]", style="green"))


def _work(url: str, kill_after: int | None) -> int:
    """Run the worker; answer how many messages it was told are saved."""
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
            fail("the worker failed: see its message above")
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
