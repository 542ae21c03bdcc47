"""The stored form of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from ..._errors import CorruptDataError, FormatError, InvalidValueError
from ..._json import Unreadable
from ...driver import Item, Value, split
from ...structures import Entry, load_object, stamp_object
from .._formats import CLAIMED_JOB

__all__ = [
    "DeadLetter",
    "check_id",
    "dead_letter",
    "dump_state",
    "load_state",
    "number_of",
    "shown_error",
    "unreadable_state",
]
__all__ += ["up_to"]

_LONGEST_ERROR = 10_000
"""Characters of an error that are stored with a job."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job after its last attempt."""

    id: str
    value: Any
    attempts: int
    error: str | None
    """The error of the last attempt, if there was one."""
    raw: str | None = None
    """For an unreadable job: what was stored, if that is text. Its value is `None`, and it cannot be revived."""


def up_to(size: int, entries: Sequence[Entry]) -> Sequence[Entry]:
    """Return as many as fit in one batch, at least one."""
    for count, entry in enumerate(entries):
        size -= len(entry.value)
        if size < 0 and count > 0:
            return entries[:count]
    return entries


def check_id(id: str) -> str:
    """Check the id of a job. Raises `InvalidValueError`."""
    if not isinstance(id, str) or len(id) != 16 or not (id.isascii() and id.isdecimal()):
        raise InvalidValueError(f"{id!r} is not a job id: pass ids on unchanged")
    return id


def number_of(item: Item) -> int:
    """Return the number in an item. Raises `CorruptDataError`."""
    if not isinstance(item.value, str) or not item.value.isdecimal():
        raise CorruptDataError(f"the item at {item.key!r} should be a number")
    return int(item.value)


def shown_error(error: str | None) -> str | None:
    """Return an error's text in a form that can be stored, whatever it contains."""
    if error is None or len(error) <= _LONGEST_ERROR:
        return None if error is None else error.encode(errors="backslashreplace").decode()
    return f"{shown_error(error[:_LONGEST_ERROR])}... ({len(error):,} characters)"


def dump_state(state: dict[str, Any]) -> str:
    """Return the stored form of a claimed job or a dead letter. Its value was checked when it was put."""
    return stamp_object(to_json(state).decode(), CLAIMED_JOB.version)


def load_state(item: Item) -> dict[str, Any]:
    """Return the claimed job or dead letter in an item. Raises `CorruptDataError`."""
    state = load_object(item.value, CLAIMED_JOB, f"the job at {item.key!r}")
    if not isinstance(state.get("attempts"), int) or "value" not in state:
        raise CorruptDataError(f"the item at {item.key!r} is not a job")
    return state


def dead_letter(item: Item) -> DeadLetter | CorruptDataError:
    """Return the dead letter in an item, or why it cannot be read."""
    try:
        state = load_state(item)
    except CorruptDataError as error:
        error.key = item.key
        return error
    return DeadLetter(split(item.key)[-1], state["value"], state["attempts"], state.get("error"), state.get("raw"))


def unreadable_state(error: CorruptDataError, stored: Value | None, attempts: int) -> dict[str, Any]:
    """Return what is kept of an unreadable job. If a newer release wrote it, `FormatError` is raised again."""
    if isinstance(error, FormatError):
        raise error
    raw = stored if isinstance(stored, str) and not isinstance(stored, Unreadable) else None
    return {"attempts": attempts, "value": None, "error": shown_error(str(error)), "raw": raw}
