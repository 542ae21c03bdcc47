"""Count what a driver requests from its backend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from limpet.driver import Append, Driver

from ._seam import Call, injected

__all__ = ["Counts", "counted"]


@dataclass(slots=True)
class Counts:
    """How many calls the backend received, and how much they contained."""

    commits: int = 0
    units: int = 0
    """Batches and appends in these commits."""
    appends: int = 0
    """The appends among the units. Only drivers that declare `append` are given any."""
    fetches: int = 0
    keys: int = 0
    """Keys requested by these fetches."""
    lists: int = 0
    items: int = 0
    """Items returned by these lists."""

    @contextmanager
    def growing(self) -> Iterator[dict[str, int]]:
        """Yield a dict that contains, after the block, how much each count grew in it."""
        before, grown = asdict(self), dict[str, int]()
        yield grown
        grown |= {word: number - before[word] for word, number in asdict(self).items()}


@contextmanager
def counted(driver: Driver) -> Iterator[Counts]:
    """Count the calls that reach the backend."""
    counts = Counts()

    def commits(call: Call) -> Call:
        async def instead(work: Any) -> Any:
            counts.commits += 1
            counts.units += len(work)
            counts.appends += sum(isinstance(unit, Append) for unit in work)
            return await call(work)

        return instead

    def fetches(call: Call) -> Call:
        async def instead(keys: Any, values: bool) -> Any:
            counts.fetches += 1
            counts.keys += len(keys)
            return await call(keys, values)

        return instead

    def lists(call: Call) -> Call:
        async def instead(*args: Any, **kwargs: Any) -> Any:
            counts.lists += 1
            page = await call(*args, **kwargs)
            counts.items += len(page.items)
            return page

        return instead

    with ExitStack() as stack:
        stack.enter_context(injected(driver, "_commit", commits))
        stack.enter_context(injected(driver, "_fetch", fetches))
        stack.enter_context(injected(driver, "_list", lists))
        yield counts
