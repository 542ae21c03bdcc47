"""Receipts of calls with `once=`. A token belongs to the call that it was given to."""

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
    """This call's receipt exists: an earlier call with the same token was applied."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a call stores in its own batch, for a day."""

    at: Key
    """Its key, made of the method, the changed key and the token: the same token elsewhere is another call."""
    contents: str
    """A digest of the given function, to tell a repetition from another function."""
    subject: str
    """What is changed, for error messages."""

    @classmethod
    def of(cls, token: str | None, method: str, subject: Key, change: Callable[..., Any]) -> Self | None:
        """Return the receipt for a token; `None` if there is no token."""
        if token is None:
            return None
        at = key(name("once"), text(_digest(method, subject)), text(token))
        return cls(at, _digest(*_parts(change)), subject)


def _parts(function: Any) -> tuple[object, ...]:
    """Yield what a function consists of: its code, and the plain values that it holds. Mutable objects are left out."""
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
