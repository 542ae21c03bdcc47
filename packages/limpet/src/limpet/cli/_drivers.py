"""`limpet drivers`: what is installed and what it can do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.markup import escape

from .._errors import LimpetError
from ..opening import driver_class, installed_drivers
from ._output import AsJson, out, show_json, table

__all__ = ["drivers"]


def drivers(json: AsJson = False) -> None:
    """List the installed drivers, by what their URLs begin with, and what each can do at most."""
    rows = []
    for scheme, entry in installed_drivers().items():
        version = entry.dist.version if entry.dist else ""
        package = entry.dist.name if entry.dist else ""
        row: dict[str, Any] = {"scheme": scheme, "package": package, "version": version, "class": entry.value}
        try:
            row["capabilities"] = asdict(driver_class(scheme).capabilities)
        except LimpetError as error:
            row["error"] = str(error)
        rows.append(row)
    if json:
        show_json(rows)
        return
    shown = table("scheme", "package", "atomic", "durable", "shared", "watch", "value")
    for column in shown.columns:
        column.no_wrap = column.header != "package"  # a stranger's may be long: what is typed stays whole
        column.overflow = "fold"
    by_class: dict[str, dict[str, Any]] = {}
    for row in rows:
        first = by_class.setdefault(row["class"], {**row, "schemes": []})
        first["schemes"].append(f"[bold]{row['scheme']}://[/]")
    for row in by_class.values():
        found = row.get("capabilities")
        if isinstance(found, dict):
            marks = [
                str(found["atomic"]),
                str(found["durable"]),
                *("yes" if found[word] else "no" for word in ("shared", "watch")),
            ]
            marks.append(f"{found['max_value_bytes'] // 1024**2} MiB")
        else:
            marks = [f"[red]{escape(str(row['error']))}[/]"]
        shown.add_row("\n".join(row["schemes"]), f"{row['package']} {row['version']}", *marks)
    out.print(shown)
