"""User data as JSON: one function writes it, and refuses whatever would not come back equal.

Plain JSON is `None`, `bool`, `int`, `float`, `str`, `list`, and `dict` with text keys. Everything is looked at before
it is encoded, so that what is too deep, too long or too large costs neither memory nor a record that nobody can read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any, Self, TypeAlias
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import from_json, to_json, to_jsonable_python

from ._errors import CorruptDataError, InvalidValueError, TooLargeError

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_DIGITS",
    "check_plain",
    "check_size",
    "difference",
    "dump_plain",
    "load_plain",
]

MAX_BYTES = 128 * 1024 * 1024
"""Of a stored value."""

MAX_DEPTH = 128
"""Nested lists and dicts. The reader accepts 200, of which records and stores use a few."""

MAX_DIGITS = 4300
"""Digits of an integer: what the reader and Python itself accept."""

_TOO_LONG = 10**MAX_DIGITS
_SIMPLE = frozenset((float, bool, type(None)))
_TEXTUAL = (date, time, timedelta, UUID, PurePath)
"""What has one form as text, that says all."""
_Where: TypeAlias = tuple[object, ...]


def check_plain(value: Any, what: str, *, binary: bool = False, left: int = MAX_BYTES) -> None:
    """Refuse what would not come back equal from JSON. `what` names the value in errors; `binary` allows bytes too.

    Raises `InvalidValueError` for a type that JSON lacks, a key that is not a string, too much depth or too many
    digits, and `TooLargeError` for more than `left` bytes. What is inside of each error is a place and a type, never a
    value.
    """
    level: list[Any] = [(value,)]
    depth = -1  # the first level is ours
    while level:
        depth += 1
        below: list[Any] = []
        for container in level:
            left -= len(container)
            if isinstance(container, dict):
                for key in container:
                    if not isinstance(key, str):
                        raise _refused(value, what, binary)
                    left -= len(key)
                container = container.values()
            for each in container:
                kind = type(each)
                if kind is str:
                    left -= len(each)
                elif kind is dict or kind is list:
                    below.append(each)
                elif kind is int:
                    if not -_TOO_LONG < each < _TOO_LONG:
                        raise _refused(value, what, binary)
                elif kind in _SIMPLE:
                    pass
                elif isinstance(each, (dict, list)):
                    below.append(each)
                elif isinstance(each, (str, bytes if binary else str)):
                    left -= len(each)
                elif isinstance(each, float) or (isinstance(each, int) and -_TOO_LONG < each < _TOO_LONG):
                    pass
                else:
                    raise _refused(value, what, binary)
            if left < 0:
                raise TooLargeError(
                    f"{what} is longer than {MAX_BYTES // 1024**2} MiB: store it as a blob, or in parts"
                )
        if depth > MAX_DEPTH:
            raise InvalidValueError(
                f"{what} has more than {MAX_DEPTH} nested lists and dicts: store its parts separately"
            )
        level = below


def check_size(value: Any, what: str, *, left: int = MAX_BYTES) -> None:
    """Refuse a value of any type whose text and bytes are longer than `room`, before it is encoded. `TooLargeError`."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for each in level:
            if isinstance(each, (str, bytes, bytearray)):
                left -= len(each)
                continue
            if isinstance(each, memoryview):
                left -= each.nbytes
                continue
            if isinstance(each, dict):
                parts: Iterable[Any] = each.values()
            elif isinstance(each, (list, tuple, set, frozenset)):
                parts = each
            elif isinstance(each, BaseModel):
                parts = [*each.__dict__.values(), *(each.__pydantic_extra__ or {}).values()]
            else:
                continue
            below += parts
        left -= len(below)
        if left < 0:
            raise TooLargeError(f"{what} is longer than {MAX_BYTES // 1024**2} MiB: store it as a blob, or in parts")
        if not below:
            return
        level = below


def difference(value: Any, back: Any) -> str | None:
    """Return where a value differs from what it came back as; `None` if it does not.

    Models are compared by their stored fields; private attributes and fields with `exclude` are not compared.
    """
    if type(value) is type(back) and not isinstance(value, BaseModel) and value == back:
        return None
    return _difference(value, back, "")


def _difference(value: Any, back: Any, at: str) -> str | None:
    if isinstance(value, BaseModel):
        if type(value) is not type(back):
            return _named(value, back, at)
        fields = {each: info for each, info in type(value).model_fields.items() if not info.exclude}
        parts = [(each, getattr(value, each), getattr(back, each)) for each in fields]
        mine, theirs = value.__pydantic_extra__ or {}, back.__pydantic_extra__ or {}
        if mine.keys() != theirs.keys():
            return _named(value, back, at)
        parts += [(each, mine[each], theirs[each]) for each in mine]
        return next(filter(None, (_difference(one, other, f"{at}.{each}") for each, one, other in parts)), None)
    if isinstance(value, dict) and isinstance(back, dict):
        if value.keys() != back.keys() or not all(
            type(each) is type(other) for each, other in zip(value, back, strict=True)
        ):
            return f"the keys of {at or 'it'}"
        found = (_difference(one, back[each], f"{at}{_shown(each)}") for each, one in value.items())
        return next(filter(None, found), None)
    if isinstance(value, (list, tuple)) and type(value) is type(back):
        if len(value) != len(back):
            return at or "its length"
        pairs = enumerate(zip(value, back, strict=True))
        return next(filter(None, (_difference(one, other, f"{at}[{n}]") for n, (one, other) in pairs)), None)
    same = value == back or (value != value and back != back)  # also for NaN
    return None if same else _named(value, back, at)


def _named(value: Any, back: Any, at: str) -> str:
    into = "" if type(value) is type(back) else f", which would come back as {type(back).__name__}"
    return f"{at.removeprefix('.') or 'the value itself'} (of type {type(value).__name__}{into})"


def as_plain(value: Any, what: str) -> Any:
    """The value itself where it is plain JSON, else what it becomes as JSON, where nothing of it is lost.

    Models and dataclasses become dicts, tuples lists, dates and the like text. Raises `InvalidValueError` for all else:
    bytes, `Decimal`, secrets, sets, keys that are not text.
    """
    try:
        check_plain(value, what, left=sys.maxsize)
    except InvalidValueError:
        plain = _converted(value, 0)
        check_plain(plain, what, left=sys.maxsize)
        return plain
    return value


def _converted(value: Any, depth: int) -> Any:
    """Convert as far as possible: `check_plain` refuses the rest."""
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, BaseModel):
        value = value.model_dump(by_alias=True, serialize_as_any=True)
    elif is_dataclass(value) and not isinstance(value, type):
        value = {each.name: getattr(value, each.name) for each in fields(value)}
    elif isinstance(value, Enum):
        return _converted(value.value, depth + 1)
    if isinstance(value, dict):
        return {key: _converted(each, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_converted(each, depth + 1) for each in value]
    return to_jsonable_python(value) if isinstance(value, _TEXTUAL) else value


def dump_plain(value: Any, what: str, *, convert: bool = False) -> str:
    """Return JSON text that reads back as an equal value. Raises what `check_plain` raises.

    With `convert`, it is the text of `as_plain(value)`.
    """
    try:
        check_plain(value, what)
    except InvalidValueError:
        if not convert:
            raise
        value = as_plain(value, what)
        check_plain(value, what)
    try:
        return to_json(value).decode()
    except ValueError as error:  # a lone surrogate
        raise InvalidValueError(f"{what} cannot be written as JSON: {error}") from None


class Unreadable(str):
    """Stands for the value of an item that could not be read. Whoever needs the value gets `error`."""

    def __new__(cls, error: CorruptDataError) -> Self:
        made = super().__new__(cls)
        made.error = error
        return made

    error: CorruptDataError


def ensure_readable(stored: object) -> None:
    """Raise the error that a value stands for, if it is `Unreadable`."""
    if isinstance(stored, Unreadable):
        raise stored.error


def load_plain(stored: str | bytes | None, where: str) -> Any:
    """Return the value in a JSON text. Raises `CorruptDataError`, which says `where`, if it is invalid."""
    if isinstance(stored, Unreadable):
        raise stored.error
    try:
        return from_json(stored or "")
    except ValueError as error:
        raise CorruptDataError(f"{where} is not JSON: {error}") from error


def _refused(value: Any, what: str, binary: bool) -> InvalidValueError:
    """Return the error for the first refused part of a value, found again, this time with its location."""
    for where, each in _walk((), value):
        at = f"{what}{''.join(map(_shown, where))}"
        if isinstance(each, dict):
            for key in each:
                if not isinstance(key, str):
                    return InvalidValueError(
                        f"{at} has a key that is not a string but of type {type(key).__name__}: JSON keys are strings"
                    )
        elif isinstance(each, int) and not -_TOO_LONG < each < _TOO_LONG:
            return InvalidValueError(f"{at} is an integer of more than {MAX_DIGITS:,} digits: store it as text")
        elif not isinstance(each, (str, int, float, list, type(None))) and not (binary and isinstance(each, bytes)):
            kinds = "None, bool, int, float, str, bytes, list" if binary else "None, bool, int, float, str, list"
            return InvalidValueError(
                f"{at} is of type {type(each).__name__}, which would come back as something else: convert it to plain JSON "
                f"first ({kinds}, dict with text keys)"
            )
    raise AssertionError("a value was refused, but nothing in it is wrong")


def _walk(where: _Where, value: Any) -> Iterator[tuple[_Where, Any]]:
    """Everything in a value with its place, not deeper than is allowed."""
    waiting: list[tuple[_Where, Any]] = [(where, value)]
    while waiting:
        at, each = waiting.pop()
        yield at, each
        parts: Iterable[tuple[object, Any]] = ()
        if len(at) > MAX_DEPTH:
            continue
        if isinstance(each, dict):
            parts = each.items()
        elif isinstance(each, list):
            parts = enumerate(each)
        waiting += [((*at, key), part) for key, part in parts]


def _shown(key: object) -> str:
    shown = repr(key)
    return f"[{shown if len(shown) <= 40 else shown[:37] + '...'}]"
