"""`limpet stats`: what a database contains."""

from __future__ import annotations

from dataclasses import dataclass

from rich.progress import Progress, SpinnerColumn, TextColumn

from ..driver.kit import hide_password, scan_all, size_of
from ..moving import kind_of
from ..opening import open_as_written
from ._output import AsJson, Place, as_text, out, run, show_json, table

__all__ = ["stats"]


@dataclass(slots=True)
class _Count:
    items: int = 0
    bytes: int = 0


def stats(url: Place, json: AsJson = False) -> None:
    """Count items and bytes by kind. Reads the whole database page by page, in constant memory."""

    async def work() -> dict[str, _Count]:
        counts: dict[str, _Count] = {}
        driver = await open_as_written(url)
        try:
            with Progress(
                SpinnerColumn(),
                TextColumn("{task.completed} items"),
                console=out,
                transient=True,
                disable=json or not out.is_terminal,
            ) as bar:
                task = bar.add_task("reading", total=None)
                async for item in scan_all(driver, ""):
                    count = counts.setdefault(kind_of(item.key), _Count())
                    count.items += 1
                    count.bytes += size_of(item.value or "")
                    bar.advance(task)
        finally:
            await driver.close()
        return counts

    counts = run(work())
    if json:
        show_json({kind: {"items": count.items, "bytes": count.bytes} for kind, count in sorted(counts.items())})
        return
    shown = table("kind", "items", "bytes", title=as_text(hide_password(url)))
    for kind, count in sorted(counts.items()):
        shown.add_row(as_text(kind), f"{count.items:,}", f"{count.bytes:,}")
    total = _Count(sum(count.items for count in counts.values()), sum(count.bytes for count in counts.values()))
    shown.add_row("[bold]total[/]", f"[bold]{total.items:,}[/]", f"[bold]{total.bytes:,}[/]")
    out.print(shown)
