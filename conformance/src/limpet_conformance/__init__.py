"""The suite that every Limpet driver passes: subclass `DriverConformance` and say where an empty database is."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._borrowed import Borrowed
    from ._driver_conformance import DriverConformance
    from ._report import Report
    from ._requires import requires
    from ._run import run
    from ._suite import Pair, Section
    from ._target import Target, conformance_of, targets

__all__ = [
    "Borrowed",
    "DriverConformance",
    "Pair",
    "Report",
    "Section",
    "Target",
    "conformance_of",
    "requires",
    "run",
    "targets",
]

_HOMES = {
    "Borrowed": "_borrowed",
    "DriverConformance": "_driver_conformance",
    "Pair": "_suite",
    "Report": "_report",
    "Section": "_suite",
    "Target": "_target",
    "conformance_of": "_target",
    "requires": "_requires",
    "run": "_run",
    "targets": "_target",
}


def __getattr__(name: str) -> Any:  # lazily, because pytest imports this package's plug-in in everyone's tests
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
