"""Arguments of the wrong type are refused at the call, by name, before anything is read or written."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from itertools import chain
from math import isnan
from typing import Any, TypeVar

from ._errors import InvalidCursorError, InvalidKeyError, InvalidValueError, LimpetError
from ._filters import ALL
from .driver import KEEP

__all__ = ["checked_arguments"]

C = TypeVar("C", bound=type)

_LARGEST = 10**16 - 1
"""Of a number: the largest one that a key holds."""

_KEYS = re.compile(r"(?:.*_)?(?:id|key|keys|base|namespace|channel|consumer|name|group|source|target|prefix|start)")
_CURSORS = ("cursor", "after", "before")

_WORDS: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "Etag": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "timedelta": (timedelta,),
    "bytes": (bytes,),
    "bytearray": (bytearray,),
    "memoryview": (memoryview,),
    "None": (type(None),),
    "All": (type(ALL),),
    "Keep": (type(KEEP),),
    "Mapping": (dict, Mapping),
    "dict": (dict, Mapping),
    "Sequence": (list, tuple, Sequence),
    "list": (list, tuple, Sequence),
    "Iterable": (list, Iterable),
}
_SHOWN = {
    "None": "None",
    "All": "ALL",
    "Keep": "KEEP",
    "str": "a string",
    "Etag": "an etag",
    "int": "a whole number",
    "float": "a number",
}
_SHOWN |= {"bool": "True or False", "timedelta": "a timedelta", "bytes": "bytes"}
_SHOWN |= {"Mapping": "a mapping", "dict": "a mapping", "Sequence": "a list", "list": "a list", "Iterable": "a list"}


@dataclass(frozen=True, slots=True)
class _Check:
    """What an argument may be, as its annotation says."""

    name: str
    plain: frozenset[type]
    """Types whose values are right as they are, if text is ASCII: all but numbers, whose values are looked at."""
    words: tuple[str, ...]

    def __call__(self, value: object) -> None:
        if isinstance(value, str) and not value.isascii() and (_KEYS.fullmatch(self.name) or self.name in _CURSORS):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise self._error(f"{self.name} holds a lone surrogate, which is not text: leave it out") from None
        if isinstance(value, float) and isnan(value):
            raise InvalidValueError(f"{self.name} is not a number (nan)")
        if not self._fits(value):
            shown = " or ".join(dict.fromkeys(_SHOWN.get(word, word) for word in self.words))
            given = type(value).__name__
            if isinstance(value, int) and not isinstance(value, bool) and "int" in self.words:
                raise InvalidValueError(
                    f"{self.name} is beyond what a number may be: use {-_LARGEST:,} to {_LARGEST:,}"
                )
            raise self._error(f"{self.name} must be {shown}, not {given}")

    def _error(self, message: str) -> LimpetError:
        if "str" in self.words and _KEYS.fullmatch(self.name):
            return InvalidKeyError(message)
        if "str" in self.words and self.name in _CURSORS:
            return InvalidCursorError(message)
        return InvalidValueError(message)

    def _fits(self, value: object) -> bool:
        if isinstance(value, bool):
            return "bool" in self.words
        if isinstance(value, int):
            return "float" in self.words or ("int" in self.words and -_LARGEST <= value <= _LARGEST)
        if isinstance(value, (str, bytes, bytearray, memoryview)):  # these are sequences too, and nobody means that
            return any(
                type(value) in _WORDS[word] or isinstance(value, _WORDS[word]) for word in self.words if word in _TEXT
            )
        return any(isinstance(value, _WORDS[word]) for word in self.words if word in _WORDS and word != "int")


_TEXT = ("str", "Etag", "bytes", "bytearray", "memoryview")


def checked_arguments(cls: C) -> C:
    """A class whose public methods check their arguments by their annotations: `str`, numbers, durations, lists.

    Of an annotation that names anything else nothing is checked here: whatever takes it does.
    """
    for name, method in list(vars(cls).items()):
        if inspect.isfunction(method) and (not name.startswith("_") or name == "__init__"):
            setattr(cls, name, _checked(method))
    return cls


def _checked(method: Callable[..., Any]) -> Callable[..., Any]:
    parameters = list(inspect.signature(method).parameters.values())[1:]
    positional = [
        _check_of(each) for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    by_name = {each.name: known for each in parameters if (known := _check_of(each)) is not None}
    if not by_name:
        return method

    of_name = by_name.get

    # Most arguments are seen to be right in the loops here, which enter no function. The check decides about the others.

    if inspect.iscoroutinefunction(method):

        @wraps(method)
        async def checked_later(self: Any, *args: Any, **kwargs: Any) -> Any:
            given = zip(positional, args, strict=False)
            for test, value in (
                chain(given, zip(map(of_name, kwargs), kwargs.values(), strict=True)) if kwargs else given
            ):
                if test and not ((kind := type(value)) in test.plain and (kind is not str or value.isascii())):
                    test(value)
            return await method(self, *args, **kwargs)

        return checked_later

    @wraps(method)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = zip(positional, args, strict=False)
        for test, value in chain(given, zip(map(of_name, kwargs), kwargs.values(), strict=True)) if kwargs else given:
            if test and not ((kind := type(value)) in test.plain and (kind is not str or value.isascii())):
                test(value)
        return method(self, *args, **kwargs)

    return checked


def _check_of(parameter: inspect.Parameter) -> _Check | None:
    written = parameter.annotation
    if not isinstance(written, str) or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
        return None
    words = tuple(re.sub(r"\[.*", "", each.strip()) for each in _alternatives(written))
    if not all(word in _WORDS for word in words):
        return None
    plain = frozenset(each for word in words for each in _WORDS[word] if not inspect.isabstract(each)) - {int, float}
    return _Check(parameter.name, plain, words)


def _alternatives(written: str) -> list[str]:
    """The parts of `a | b[c | d]` that are not inside of brackets."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(written):
        depth += (character == "[") - (character == "]")
        if character == "|" and not depth:
            parts.append(written[start:at])
            start = at + 1
    return [*parts, written[start:]]
