"""Work that is the same with `await` and without: a generator that yields each call, and is sent its result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

from limpet import LimpetError, sync

__all__ = ["Step", "Steps", "awaited", "called"]

R = TypeVar("R")


class Step(NamedTuple):
    """A call of a method. If it raises a `LimpetError`, the generator gets that."""

    target: Any
    """The name of the object, or what an earlier step returned."""
    method: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = {}
    until: Callable[[Any], bool] | None = None
    """For a method that returns an iterator: iterate until this returns `True` for an element."""


Steps: TypeAlias = Generator[Step, Any, R]


async def awaited(steps: Steps[R], targets: Mapping[str, Any]) -> R:
    """Call each step, and await what is awaitable; return the result. `targets` are the objects by name."""
    try:
        step = next(steps)
        while True:
            try:
                found = _call(step, targets)
                if step.until is not None:
                    async for each in found:
                        if step.until(each):
                            break
                elif isinstance(found, Awaitable):
                    found = await found
            except LimpetError as error:
                step = steps.throw(error)
            else:
                step = steps.send(found)
    except StopIteration as done:
        result: R = done.value
        return result


def called(steps: Steps[R], targets: Mapping[str, Any]) -> R:
    """As `awaited`, where nothing is awaitable; of a listing, a page is read."""
    try:
        step = next(steps)
        while True:
            try:
                found = _call(step, targets)
                if step.until is not None:
                    for each in found:
                        if step.until(each):
                            break
                elif isinstance(found, sync.Listing):
                    found = found.page()
            except LimpetError as error:
                step = steps.throw(error)
            else:
                step = steps.send(found)
    except StopIteration as done:
        result: R = done.value
        return result


def _call(step: Step, targets: Mapping[str, Any]) -> Any:
    target = targets[step.target] if isinstance(step.target, str) else step.target
    return getattr(target, step.method)(*step.arguments, **step.options)
