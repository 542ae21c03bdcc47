"""Lazy imports: names of a package that are imported on first use, so importing the package is cheap."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy"]


def lazy(package: str, homes: Mapping[str, str], modules: Iterable[str] = ()) -> Callable[[str], Any]:
    """A package's `__getattr__`: it imports a name from its home, a relative module, and a public module of the package."""
    public = frozenset(modules)

    def __getattr__(name: str) -> Any:
        if name in public:
            return import_module(f".{name}", package)
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(import_module(homes[name], package), name)
        setattr(sys.modules[package], name, found)  # from now on without a call
        return found

    return __getattr__
