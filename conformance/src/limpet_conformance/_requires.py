"""Which capabilities a test requires, and whether a driver declares them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, cast, get_args, get_type_hints

import pytest
from limpet.driver import Capabilities

__all__ = ["NOT_DECLARED", "requires", "undeclared"]

NOT_DECLARED = "not declared: "
"""How the reason of a skip starts that the report counts as "not declared"."""

_HINTS = get_type_hints(Capabilities)
_SCALES = {field.name: get_args(_HINTS[field.name]) for field in fields(Capabilities)}


def requires(**words: Any) -> pytest.MarkDecorator:
    """Run a test only for drivers that declare these capabilities: `@requires(shared=True, durable="process")`.

    A literal requires that level or a higher one (`"disk"` satisfies `durable="process"`), a bool exactly that value.
    For other drivers, the test is reported as not declared, which is different from passed.
    """
    for word in words:
        if word not in _SCALES:
            raise TypeError(f"Capabilities has no {word!r}: use one of {', '.join(_SCALES)}")
    return cast("pytest.MarkDecorator", pytest.mark.requires(**words))


def undeclared(capabilities: Capabilities, test: Any) -> str | None:
    """Return the first capability that `test` requires and `capabilities` lacks, in words; `None` if it can run."""
    for mark in getattr(test, "pytestmark", ()):
        if mark.name != "requires":
            continue
        for word, wanted in mark.kwargs.items():
            has = getattr(capabilities, word)
            scale = _SCALES[word]
            met = scale.index(has) >= scale.index(wanted) if scale else has == wanted
            if not met:
                return f"{word}={wanted!r} (the driver declares {word}={has!r})"
    return None
