"""Run the embedded drivers' comparisons, or those that are named, show a table, write what was complete to `benchmarks/results/`.

The servers' ones start servers of their own, from the programs of this machine or in Docker. `agents` needs an
environment of its own: what Naylence pins cannot be installed beside the other peers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import tempfile
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ._measure import SERVERS_SEEN, Comparison, environment

WORK = {
    "memory": "memory",
    "items": "sqlite_items",
    "messages": "messages",
    "flat": "flat",
    "encryption": "encryption",
    "agents": "agents",
    "servers": "servers",
    "server-messages": "server_messages",
    "events": "events",
    "checkpoints": "checkpoints",
    "blobs": "blobs",
    "synchronous": "synchronous",
}
"""The modules in `work`, each imported when it runs, since each needs its own peers."""
RESULTS = Path(__file__).parent / "results"
EMBEDDED = ["memory", "items", "messages", "flat", "encryption"]
COMMITTED = {
    "embedded.json": EMBEDDED,
    "servers.json": ["servers", "server-messages"],
    "agents.json": ["agents"],
    "events.json": ["events"],
    "stores.json": ["checkpoints", "blobs"],
    "synchronous.json": ["synchronous"],
}


async def main(names: list[str]) -> None:
    console = Console()
    found: list[Comparison] = []
    with tempfile.TemporaryDirectory(prefix="limpet-bench-") as folder:
        facts = environment(Path(folder))
        console.print(f"Python {facts['python']}, SQLite {facts['sqlite']}, fsync {facts['fsync_ms']} ms")
        for name in names:
            try:
                work = import_module(f".work.{WORK[name]}", __package__)
            except ModuleNotFoundError as error:
                raise SystemExit(
                    f"{name} needs {error.name}: run nox -s bench{'_agents' * (name == 'agents')}"
                ) from error
            for comparison in await work.run(Path(folder)):
                found.append(comparison)
                show(console, comparison)
    facts["servers"] = dict(SERVERS_SEEN)
    missed = [line for comparison in found for line in comparison.missed()]
    console.print("\n".join(f"[red]missed[/] {line}" for line in missed) or "[green]every bar was met[/]")
    for file, complete in COMMITTED.items():
        if names == complete:
            result = {"environment": facts, "comparisons": [asdict(each) for each in found], "missed": missed}
            (RESULTS / file).write_text(json.dumps(result, indent=2) + "\n")


def markdown(result: dict[str, Any]) -> str:
    """The committed results as a table for `docs/inside/benchmarks.md`."""
    facts = result["environment"]
    packages = ", ".join(f"{name} {of}" for name, of in facts["packages"].items() if of != "not installed")
    servers = "".join(f", {name} {of}" for name, of in facts.get("servers", {}).items())
    lines = [
        (
            f"Python {facts['python']}, {facts['processors']} processors, SQLite {facts['sqlite']}, an fsync of this disk "
            f"{facts['fsync_ms']} ms{servers}; {packages}."
        ),
        "",
        "| what | Limpet | compared with | its rate | ratio | target |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for each in result["comparisons"]:
        (ours, rate), *others = each["rates"].items()
        for name, theirs in others:
            ratio, bar = each["ratios"][name], each["bars"].get(name)
            outcome = "" if bar is None else f"{bar:g}, {'met' if ratio >= bar else '**missed**'}"
            mine = f"{rate:,.0f}" if ours == "limpet" else f"{rate:,.0f} among {ours}"
            beside = name if ours == "limpet" else f"among {name}"
            lines.append(f"| {each['title']} | {mine} | {beside} | {theirs:,.0f} | {ratio:.2f} | {outcome} |")
    return "\n".join(lines)


def show(console: Console, comparison: Comparison) -> None:
    table = Table(
        "who",
        comparison.unit,
        "ratio",
        "bar",
        title=comparison.title,
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
    )
    for name, rate in comparison.rates.items():
        ratio, bar = comparison.ratios.get(name), comparison.bars.get(name)
        outcome = "" if ratio is None or bar is None else ("[green]met[/]" if ratio >= bar else "[red]missed[/]")
        table.add_row(
            name, f"{rate:,.0f}", "" if ratio is None else f"{ratio:.2f}", "" if bar is None else f"{bar} {outcome}"
        )
    console.print(table)
    console.print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="|".join(WORK), help="what to measure, by default what needs no server"
    )
    parser.add_argument(
        "--markdown", action="store_true", help="print the committed results as a table, measure nothing"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(WORK):
        parser.error(f"there is no {', '.join(sorted(unknown))}: choose from {', '.join(WORK)}")
    logging.disable(logging.WARNING)
    if arguments.markdown:
        print(
            "\n\n".join(
                markdown(json.loads((RESULTS / file).read_text())) for file in COMMITTED if (RESULTS / file).exists()
            )
        )
    else:
        asyncio.run(main(arguments.names or EMBEDDED))
