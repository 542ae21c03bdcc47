"""What every driver needs: validation, limits, ownership and lost answers, around a few small methods."""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod
from asyncio import get_running_loop
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from itertools import accumulate
from os import getpid
from typing import ClassVar

from ..._errors import (
    ClosedError,
    ConfigurationError,
    LimpetError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from ..._secrets import without_frames
from .._capabilities import shortfall
from .._driver import Driver
from .._types import Append, Check, Delete, Health, Item, Key, Outcome, Page, Range, Unit
from ._defaults import append_by_compare_and_set, probe_clock
from ._forks import check_loop, check_process
from ._lost_answers import resolve_lost_answer
from ._owner import Owner
from ._validation import MAX_PAGE, validate_base, validate_get, validate_range, validate_unit

__all__ = ["BaseDriver"]

_GROUP_WRITES = 4096
_APPENDS_MERGED = 64
_CLEARED = 256


class BaseDriver(Driver):
    """Implement `_open`, `_close`, `_fetch`, `_commit` and `_list`; this class implements the public verbs.

    It refuses invalid or too large arguments, calls after closing, and callers on another event loop or in a forked
    process. It limits groups and pages, and counts calls, so that `close` waits for them. After a lost answer it reads
    back, sends again if that is safe, or reports that the outcome is unknown. List the client library's errors in
    `client_errors` and translate them in `_translate`.
    """

    client_errors: ClassVar[tuple[type[Exception], ...]] = ()
    """The base classes of every error that the client library raises."""
    only_reads = False
    """Set by `read_only()` before opening: nothing will be written, so `_open` must not write either."""

    def __init__(self) -> None:
        self._owner: Owner | None = None
        self._process = 0
        self._closed = False
        self._busy = 0
        self._idle = asyncio.Event()
        self._opening: asyncio.Lock | None = None
        self.__closing: asyncio.Task[None] | None = None  # mangled, like `__end`, so that authors can use these names

    # What an author implements.

    @abstractmethod
    async def _open(self) -> None:
        """Connect, create what is missing, and set `self.capabilities` to what was found. Clean up on failure."""

    @abstractmethod
    async def _close(self) -> None:
        """Free what `_open` acquired. No other call is under way."""

    @abstractmethod
    async def _fetch(self, keys: Sequence[Key], values: bool) -> Sequence[Item | None]:
        """Return one item or `None` for each key, in order, in one round trip, as one snapshot; expired means `None`.

        With `values=False`, values need not be read; returning them is allowed.
        """

    @abstractmethod
    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        """Evaluate and write independent units in any order, each all or nothing; return their outcomes, in order.

        Lock or begin, read `keys_to_read(units)`, call `evaluate`, write its effects, commit. There are `Append` units
        only if `capabilities.append` is declared. Raise an error only if it is the outcome of *all* units.
        """

    @abstractmethod
    async def _list(self, range: Range) -> Page:
        """Return one page of a range, in order, without expired items. `to_page` cuts ordered items to a page."""

    # What an author may also implement. These are called between `_open` and `_close`, which waits for them.

    def _translate(self, error: Exception) -> LimpetError:
        """Return Limpet's error for one of `client_errors`: `UnavailableError(sent=...)` if the connection failed."""
        raise error

    async def _clear(self, base: Key) -> tuple[int, bool]:
        """Delete some of the descendants of `base`; return how many, and whether there may be more.

        Called again until there are none, so each call can be short. The default deletes a page at a time.
        """
        page = await self._list(Range(base, limit=_CLEARED, values=False))
        at_once = 1 if self.capabilities.atomic == "item" else self.capabilities.max_writes
        for start in range(0, len(page.items), at_once):
            (outcome,) = await self._sent([[Delete(item.key) for item in page.items[start : start + at_once]]])
            if isinstance(outcome, Exception):
                raise outcome
        return len(page.items), page.next is not None

    async def _purge(self) -> tuple[int, bool]:
        """Free some expired items; return how many, and whether there may be more. The default does nothing."""
        return 0, False

    async def _health(self) -> Health:
        """Describe the backend without writing: product, version, clock, problems.

        The default only reads. It cannot tell the time, so `health(probe=True)` determines that by writing.
        """
        await self._list(Range(limit=1, values=False))
        return Health(type(self).__name__, "unknown", None)

    def _watch(self, base: Key) -> AsyncGenerator[frozenset[Key] | None, None]:
        """Iterate over notifications, as `watch` says. Required if `capabilities.watch` is declared.

        Raise `ClosedError` once the driver is closed. `notifications` does all of this, given a connection that
        listens.
        """
        raise UnsupportedError(
            f"{type(self).__name__} declares 'watch' but has no _watch(): implement it, or do not declare it"
        )

    @property
    def connections_made(self) -> int:
        """How many connections were made so far.

        A server that restarted, perhaps empty, can only be reached over a new one.
        """
        return 0

    # The verbs.

    @property
    def is_open(self) -> bool:
        return self._owner is not None and not self._closed

    async def open(self) -> None:
        if self._closed:
            raise ClosedError(f"{type(self).__name__} was closed: create a new one")
        if self._process:
            check_process(self._process, type(self).__name__)
        self._process = os.getpid()
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._owner is not None:
                self._check()
                return
            check_loop(asyncio.get_running_loop())
            with self._translated():
                await self._open()
                if missing := shortfall(self.capabilities):
                    await self._close()
                    raise ConfigurationError(f"{type(self).__name__} cannot be used: {missing}")
            self._owner = Owner()

    def ensure_owner(self) -> None:
        """Raise `ForeignLoopError` on any event loop but the one that this driver is open on: it cannot be closed here."""
        ended = self.__closing is not None and self.__closing.done()
        if self._owner is not None and not ended and not self._owner.is_forked:
            self._owner.check(type(self).__name__)

    async def close(self) -> None:
        self.ensure_owner()
        if self._owner is None or self._owner.is_forked:  # in a child, everything open belongs to the parent
            self._closed = True
            return
        if self.__closing is None:
            self._check()
            self._closed = True
            self.__closing = asyncio.create_task(self.__end())
        elif self.__closing.done():
            return
        await asyncio.shield(self.__closing)  # if the caller is cancelled, closing continues

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        validate_get(keys, self.capabilities)
        self._enter()
        try:
            return list(await self._fetch(keys, values)) if keys else []
        except LimpetError:
            raise
        except self.client_errors as error:
            raise self._translate(error) from without_frames(error)
        finally:
            self._leave()

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        if len(units) != 1 or (isinstance(units[0], Append) and not self.capabilities.append):
            return await self._commit_groups(units)
        try:
            validate_unit(units[0], self.capabilities)
        except LimpetError as error:
            return [error]
        self._enter()
        try:
            return list(await self._sent(units)) if units[0] else [None]
        finally:
            self._leave()

    async def scan(self, range: Range) -> Page:
        validate_range(range)
        self._enter()
        try:
            return await self._list(range if range.limit <= MAX_PAGE else replace(range, limit=MAX_PAGE))
        except LimpetError:
            raise
        except self.client_errors as error:
            raise self._translate(error) from without_frames(error)
        finally:
            self._leave()

    async def clear(self, base: Key) -> int:
        validate_base(base)
        return await self._repeated(lambda: self._clear(base))

    async def purge(self) -> int:
        return await self._repeated(self._purge)

    async def health(self, *, probe: bool = False) -> Health:
        with self._call():
            found = await self._health()
            return replace(found, clock_ms=await probe_clock(self)) if probe and found.clock_ms is None else found

    def watch(self, base: Key) -> AsyncGenerator[frozenset[Key] | None, None]:
        validate_base(base)
        self._check()
        if not self.capabilities.watch:
            raise UnsupportedError(f"{self._cannot_watch()}, or read again every few seconds instead")
        return self._watched(base)

    def _cannot_watch(self) -> str:
        """Return why `capabilities.watch` is false, and what would help: the beginning of a sentence."""
        return f"{type(self).__name__} does not declare 'watch': open a driver that does"

    # Implementation.

    async def _watched(self, base: Key) -> AsyncGenerator[frozenset[Key] | None, None]:
        async with aclosing(self._watch(base)) as notifications:
            with self._translated():
                async for keys in notifications:
                    yield keys

    async def _repeated(self, act: Callable[[], Awaitable[tuple[int, bool]]]) -> int:
        """Run in many short steps, so that other calls get their turn in between; `close` waits for all of them."""
        total, more = 0, True
        with self._call():
            while more:
                count, more = await act()
                total += count
        return total

    async def _commit_groups(self, units: Sequence[Unit]) -> list[Outcome]:
        outcomes: list[Outcome] = [None] * len(units)
        groups: list[list[int]] = [[]]
        numbered: dict[int, Append] = {}
        writes = size = 0
        for at, unit in enumerate(units):
            try:
                unit_size = validate_unit(unit, self.capabilities)
            except LimpetError as error:
                outcomes[at] = error
                continue
            if isinstance(unit, Append) and not self.capabilities.append:
                numbered[at] = unit
                continue
            count = len(unit.puts) if isinstance(unit, Append) else len(unit)
            writes, size = writes + count, size + unit_size
            if groups[-1] and (writes > _GROUP_WRITES or size > self.capabilities.max_batch_bytes):
                groups.append([])
                writes, size = count, unit_size
            if count:
                groups[-1].append(at)
        self._enter()
        try:
            for group in groups:
                if group:
                    found = await self._sent([units[at] for at in group])
                    for at, outcome in zip(group, found, strict=True):
                        outcomes[at] = outcome
            if numbered:
                for at, outcome in (await self._compare_and_set(numbered)).items():
                    outcomes[at] = outcome
        finally:
            self._leave()
        return outcomes

    async def __end(self) -> None:
        if self._busy:
            await self._idle.wait()
        with self._translated():
            await self._close()

    async def _sent(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        try:
            return await self._commit(units)
        except LimpetError as error:  # first, because Limpet's errors are OSErrors, which may be a client's errors too
            failure = error
        except self.client_errors as error:
            failure = self._translate(error)
            failure.__cause__ = without_frames(error)
        if isinstance(failure, UnavailableError) and failure.sent:
            return [await self._settle(unit, failure) for unit in units]
        return [failure] * len(units)

    async def _settle(self, unit: Unit, cause: UnavailableError) -> Outcome:
        async def fetch(keys: Sequence[Key]) -> Sequence[Item | None]:
            with self._translated():
                return await self._fetch(keys, len(keys) == 1)

        async def send(again: Unit) -> Outcome:
            with self._translated():
                (answer,) = await self._commit([again])
            return answer

        return await resolve_lost_answer(unit, cause, fetch, send)

    async def _compare_and_set(self, appends: Mapping[int, Append]) -> dict[int, Outcome]:
        """Run the appends to one log as one batch, and different logs concurrently."""
        logs: dict[tuple[Key, Check], list[int]] = {}
        for place, unit in appends.items():
            logs.setdefault((unit.log, unit.check), []).append(place)
        parts = [
            places[start : start + _APPENDS_MERGED]
            for places in logs.values()
            for start in range(0, len(places), _APPENDS_MERGED)
        ]
        answers: dict[int, Outcome] = {}
        for found in await asyncio.gather(*(self._append_merged(part, appends) for part in parts)):
            answers |= found
        return answers

    async def _append_merged(self, places: list[int], appends: Mapping[int, Append]) -> dict[int, Outcome]:
        units = [appends[place] for place in places]
        merged = Append(units[0].log, tuple(put for unit in units for put in unit.puts), units[0].check)
        try:
            validate_unit(merged, self.capabilities)
        except TooLargeError:
            return {place: await self._append_alone(appends[place]) for place in places}
        first = await self._append_alone(merged)
        offsets = accumulate((len(unit.puts) for unit in units), initial=0)
        return {
            place: first + offset if isinstance(first, int) else first
            for place, offset in zip(places, offsets, strict=False)
        }

    async def _append_alone(self, unit: Append) -> Outcome:
        try:
            return await append_by_compare_and_set(self, unit)
        except LimpetError as error:
            return error

    def _check(self) -> None:
        owner = self._owner
        if self._closed:
            raise ClosedError(f"{type(self).__name__} is closed: open a new one")
        if owner is None:
            raise ClosedError(f"{type(self).__name__} is not open yet: 'await driver.open()' or 'async with driver:'")
        owner.check(type(self).__name__)

    def _enter(self) -> None:
        if self._closed or self._owner is None or self._owner.here != (get_running_loop(), getpid()):
            self._check()
        self._busy += 1

    def _leave(self) -> None:
        self._busy -= 1
        if self._closed and not self._busy:
            self._idle.set()

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Use around the rarer verbs: checks, counts the call, and translates the client's errors."""
        self._enter()
        try:
            with self._translated():
                yield
        finally:
            self._leave()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except LimpetError:
            raise
        except self.client_errors as error:
            raise self._translate(error) from without_frames(error)
