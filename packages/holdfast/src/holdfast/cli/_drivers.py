"""`holdfast drivers`: what is installed and what it can do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.markup import escape

from .._errors import HoldfastError
from ..opening import driver_class, installed_drivers
from ._output import AsJson, out, show_json, table

__all__ = ["drivers"]


def drivers(json: AsJson = False) -> None:
    """List the installed drivers with what each can do at most."""
    rows = []
    for scheme, entry in installed_drivers().items():
        version = entry.dist.version if entry.dist else ""
        package = entry.dist.name if entry.dist else ""
        row: dict[str, Any] = {"scheme": scheme, "package": package, "version": version, "class": entry.value}
        try:
            row["capabilities"] = asdict(driver_class(scheme).capabilities)
        except HoldfastError as error:
            row["error"] = str(error)
        rows.append(row)
    if json:
        show_json(rows)
        return
    shown = table("scheme", "package", "version", "atomic", "durable", "shared", "watch", "value up to")
    for column in shown.columns:
        column.no_wrap = column.header != "package"  # a stranger's may be long: what is typed stays whole
    for row in rows:
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
        shown.add_row(f"[bold]{row['scheme']}://[/]", str(row["package"]), str(row["version"]), *marks)
    out.print(shown)
