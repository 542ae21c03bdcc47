"""Receipts of calls with `once=`: a token belongs to the call that it was given to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from functools import partial
from hashlib import sha256
from types import CodeType
from typing import Any, Self

from ..driver import Key, key, name, text

__all__ = ["Receipt", "Repeated"]

_PLAIN = (str, bytes, int, float, Decimal, Enum, type(None))


class Repeated(Exception):
    """The receipt of this call is there already: an earlier one with the same token was applied."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a call leaves for a day, in its own batch."""

    at: Key
    """Made of the method, the key that it changes and the token, so the same token elsewhere is another call."""
    contents: str
    """A digest of the function that was given, to tell another one from a repetition."""
    subject: str
    """What is changed, for messages."""

    @classmethod
    def of(cls, token: str | None, method: str, subject: Key, change: Callable[..., Any]) -> Self | None:
        """The receipt for a token; `None` without one."""
        if token is None:
            return None
        at = key(name("once"), text(_digest(method, subject)), text(token))
        return cls(at, _digest(*_parts(change)), subject)


def _parts(function: Any) -> tuple[object, ...]:
    """What a function is made of: its code, and the plain values that it holds. Objects that may change are left out."""
    if isinstance(function, partial):
        return "partial", *_parts(function.func), _plain((function.args, tuple(sorted(function.keywords.items()))))
    bound = getattr(function, "__self__", None)
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        return type(function).__qualname__, getattr(function, "__qualname__", None), _plain(bound)
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # not bound yet
            continue
    return _code(code), _plain(bound), _plain(function.__defaults__), _plain(tuple(cells))


def _code(code: CodeType) -> tuple[object, ...]:
    constants = [_code(each) if isinstance(each, CodeType) else _plain(each) for each in code.co_consts]
    return code.co_code, code.co_names, tuple(constants)


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(_plain(each) for each in value)
    if isinstance(value, frozenset):
        return sorted(repr(_plain(each)) for each in value)
    return (type(value).__name__, value) if isinstance(value, _PLAIN) else type(value).__name__


def _digest(*parts: object) -> str:
    return sha256(repr(parts).encode(errors="surrogatepass")).hexdigest()[:32]
