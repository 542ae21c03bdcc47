"""`limpet drivers`: the installed drivers and plug-ins, and what they can do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import EntryPoint
from typing import Any

from .._entry_points import SWITCH, allowed_packages, declared, is_allowed, package_of, plugin_error
from .._errors import ConfigurationError, LimpetError
from ..driver import Capabilities, Driver
from ..opening import DRIVERS, claimed_schemes, driver_class
from ..plugins import GROUP, broken_plugins
from ._output import AsJson, as_text, out, show_json, table

__all__ = ["drivers"]


def drivers(json: AsJson = False) -> None:
    """List the installed drivers with their URL schemes and maximum capabilities, then the plug-ins.

    If a driver or plug-in cannot be used, or LIMPET_PLUGINS excludes it, the reason is shown.
    """
    rows = [*_driver_rows(), *_plugin_rows()]
    if json:
        show_json(rows)
        return
    shown = table("scheme", "package", "atomic", "durable", "shared", "watch", "value")
    for column in shown.columns:
        column.no_wrap = column.header != "package"  # other packages' names may be long
        column.overflow = "fold"
    by_class: dict[tuple[str, str], dict[str, Any]] = {}
    for row in (row for row in rows if row["scheme"]):
        first = by_class.setdefault((row["package"], row["class"]), {**row, "schemes": []})
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
            marks = [f"[red]{as_text(row['error'])}[/]"]
        shown.add_row("\n".join(row["schemes"]), f"{row['package']} {row['version']}", *marks)
    out.print(shown)
    for row in (row for row in rows if row["plugin"]):
        error = f" [red]{as_text(row['error'])}[/]" if "error" in row else ""
        out.print(f"[bold]plug-in[/] {as_text(row['plugin'])} {as_text(row['package'])} {row['version']}{error}")


def _driver_rows() -> Iterator[dict[str, Any]]:
    claims = claimed_schemes()
    for entry in declared(DRIVERS)[0]:
        row = _row(entry, scheme=entry.name)
        claimants = claims.get(entry.name.lower(), [])
        try:
            if entry not in claimants:
                raise ConfigurationError(f"excluded by {SWITCH}")
            row["capabilities"] = _capabilities(driver_class(entry.name.lower()), entry)
        except LimpetError as error:
            row["error"] = str(error)
        yield row


def _capabilities(driver: type[Driver], entry: EntryPoint) -> dict[str, Any]:
    found = getattr(driver, "capabilities", None)
    if not isinstance(found, Capabilities):
        raise plugin_error(package_of(entry), entry.name, entry.value, "declares no capabilities")
    return asdict(found)


def _plugin_rows() -> Iterator[dict[str, Any]]:
    allowed = allowed_packages()
    entries, unreadable = declared(GROUP)
    broken = {(error.distribution, error.entry_point): str(error) for error in broken_plugins()}
    for entry in entries:
        row = _row(entry, plugin=entry.name)
        if not is_allowed(entry, allowed):
            row["error"] = f"excluded by {SWITCH}"
        elif (error := broken.get((row["package"], entry.name))) is not None:
            row["error"] = error
        yield row
    for unread in unreadable:
        yield {
            "scheme": None,
            "plugin": unread.entry_point,
            "package": unread.distribution,
            "version": "",
            "class": "",
            "error": str(unread),
        }


def _row(entry: EntryPoint, *, scheme: str | None = None, plugin: str | None = None) -> dict[str, Any]:
    return {
        "scheme": scheme,
        "plugin": plugin,
        "package": package_of(entry),
        "version": entry.dist.version if entry.dist else "",
        "class": entry.value,
    }
