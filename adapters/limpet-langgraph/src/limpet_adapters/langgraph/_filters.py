"""Filters of LangGraph's searches: equality, comparisons, nested objects and lists."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["check_filter", "matches"]

_ORDERS: Mapping[str, Callable[[Any, Any], Any]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def check_filter(wanted: Mapping[str, Any] | None) -> None:
    """Raise `ValueError` for what is no filter or has an operator that does not exist, before anything is read."""
    if wanted is not None and not isinstance(wanted, Mapping):
        raise ValueError(f"a filter must be a dict, not {type(wanted).__name__}")
    for value in (wanted or {}).values():
        if isinstance(value, Mapping):
            for name in value:
                if name.startswith("$") and name not in ("$eq", "$ne", *_ORDERS):
                    raise ValueError(f"Unsupported operator: {name}; use $eq, $ne, $gt, $gte, $lt or $lte")
            check_filter(value)


def matches(value: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Return whether a stored value has what the filter asks for. `"a.b"` is a field `b` in `a`, if there is no `"a.b"`."""
    return all(_matches(_field(value, name), each) for name, each in (wanted or {}).items())


def _field(value: Mapping[str, Any], name: str) -> Any:
    if name in value or "." not in name:
        return value.get(name)
    found: Any = value
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _matches(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if any(name.startswith("$") for name in wanted):
            return all(_compares(value, name, each) for name, each in wanted.items())
        return isinstance(value, Mapping) and all(_matches(value.get(name), each) for name, each in wanted.items())
    if isinstance(wanted, (list, tuple)):
        return isinstance(value, list) and len(value) == len(wanted) and all(map(_matches, value, wanted))
    return bool(value == wanted)


def _compares(value: Any, name: str, wanted: Any) -> bool:
    if name == "$eq":
        return bool(value == wanted)
    if name == "$ne":
        return bool(value != wanted)
    comparable = all(isinstance(each, (int, float)) for each in (value, wanted))
    if not comparable and not all(isinstance(each, str) for each in (value, wanted)):
        return False  # a number is neither above nor below a text, and nothing is above or below what is not there
    return bool(_ORDERS[name](value, wanted))
