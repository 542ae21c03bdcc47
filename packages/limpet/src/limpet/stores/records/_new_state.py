"""Whether a function that was given a state returned a new one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel

__all__ = ["is_new_state"]


def is_new_state(result: Any, state: Any) -> bool:
    """Return whether a result is of the state's own type, and neither the state nor a part of it."""
    return type(result) is type(state) and result is not None and not _contains(state, result)


def _contains(whole: Any, part: Any) -> bool:
    seen: set[int] = set()
    waiting = [whole]
    while waiting:
        value = waiting.pop()
        if value is part:
            return True
        if id(value) not in seen:
            seen.add(id(value))
            waiting += _parts(value)
    return False


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, BaseModel):
        return [*value.__dict__.values(), *(value.__pydantic_extra__ or {}).values()]
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, (list, tuple, set, frozenset)):
        return value
    if is_dataclass(value):
        return [getattr(value, each.name) for each in fields(value)]
    return ()
