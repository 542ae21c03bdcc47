"""What every author would write again: one gate before the five small methods of a backend."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import ClassVar

from .._errors import ClosedError, ForeignLoopError, LimpetError, TooLargeError, UnavailableError, UnsupportedError
from . import _defaults
from ._driver import Driver
from ._gate import MAX_PAGE, check_get, check_scan, check_unit
from ._lost_answers import settle
from ._types import Append, Batch, Check, Item, Key, Page, Put, Verdict, Work

__all__ = ["BaseDriver"]

_GROUP_WRITES = 4096
_APPENDS_MERGED = 64


class BaseDriver(Driver):
    """Write `_open`, `_close`, `_fetch`, `_commit` and `_list`; the public verbs are here, once.

    This class refuses what is invalid, too large, closed or on a foreign event loop; bounds groups and pages; and
    after a lost answer reads back, resends where that is safe, or says that the outcome is unknown. An author
    lists the client library's errors in `client_errors` and translates them in `_translate`.
    """

    client_errors: ClassVar[tuple[type[Exception], ...]] = ()
    """The base classes of every error that the client library raises."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._busy = 0
        self._idle = asyncio.Event()
        self._opening: asyncio.Lock | None = None
        self.__closing: asyncio.Task[None] | None = None  # mangled, as `__end` is: authors have names of their own

    # What an author writes.

    @abstractmethod
    async def _open(self) -> None:
        """Connect, create what is missing, set `self.capabilities` to what was found. Clean up when it fails."""

    @abstractmethod
    async def _close(self) -> None:
        """Free what `_open` took. No other call is under way."""

    @abstractmethod
    async def _fetch(self, keys: Sequence[Key], values: bool) -> Sequence[Item | None]:
        """One item or `None` for each key, in order, in one round trip, as one snapshot; expired means `None`.

        `values=False` saves reading values; giving them all the same is allowed.
        """

    @abstractmethod
    async def _commit(self, work: Sequence[Work]) -> Sequence[Verdict]:
        """Judge and write independent units in any order, each all or nothing; one verdict for each, in order.

        Lock or begin, read `needed(work)`, ask `judge`, write what it says, commit. `Append` units come only
        where `capabilities.append` is declared. Raise only when the fate of *all* of them is the same.
        """

    @abstractmethod
    async def _list(
        self, base: Key, after: Key | None, before: Key | None, reverse: bool, limit: int, values: bool
    ) -> Page:
        """One page, in order, without expired items; `collect` cuts an ordered run of items to one."""

    def _translate(self, error: Exception) -> LimpetError:
        """One of ours for an error of `client_errors`: `UnavailableError(sent=...)` where the connection failed."""
        raise error

    # The verbs.

    @property
    def is_open(self) -> bool:
        return self._loop is not None and not self._closed

    async def open(self) -> None:
        if self._closed:
            raise ClosedError(f"{type(self).__name__} was closed: make a new one")
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._loop is not None:
                self._check_open()
                return
            with self._translated():
                await self._open()
            self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        if self._loop is None:
            self._closed = True
            return
        if self.__closing is None:
            self._check_open()
            self._closed = True
            self.__closing = asyncio.create_task(self.__end())
        elif self.__closing.done():
            return
        await asyncio.shield(self.__closing)  # whoever is cancelled leaves the closing to go on, and another one waits

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        check_get(keys, self.capabilities)
        self._enter()
        try:
            return list(await self._fetch(keys, values)) if keys else []
        except LimpetError:
            raise
        except self.client_errors as error:
            raise self._translate(error) from error
        finally:
            self._leave()

    async def apply(self, batch: Batch) -> None:
        check_unit(batch, self.capabilities)
        self._enter()
        try:
            (verdict,) = await self._sent([batch]) if batch else (None,)
        finally:
            self._leave()
        if isinstance(verdict, Exception):
            raise verdict

    async def append(self, log: Key, puts: Sequence[Put], check: Check) -> int:
        unit = Append(log, tuple(puts), check)
        if self.capabilities.append:
            check_unit(unit, self.capabilities)
            self._enter()
            try:
                (verdict,) = await self._sent([unit])
            finally:
                self._leave()
        else:
            (verdict,) = await self.apply_many([unit])
        if isinstance(verdict, int):
            return verdict
        raise verdict or AssertionError("an append was applied without a number")

    async def apply_many(self, work: Sequence[Work]) -> list[Verdict]:
        verdicts: list[Verdict] = [None] * len(work)
        groups: list[list[int]] = [[]]
        numbered: list[int] = []
        writes = size = 0
        for place, unit in enumerate(work):
            try:
                unit_size = check_unit(unit, self.capabilities)
            except LimpetError as error:
                verdicts[place] = error
                continue
            if isinstance(unit, Append) and not self.capabilities.append:
                numbered.append(place)
                continue
            count = len(unit.puts) if isinstance(unit, Append) else len(unit)
            writes, size = writes + count, size + unit_size
            if groups[-1] and (writes > _GROUP_WRITES or size > self.capabilities.max_batch_bytes):
                groups.append([])
                writes, size = count, unit_size
            if count:
                groups[-1].append(place)
        self._enter()
        try:
            for group in groups:
                if group:
                    answers = await self._sent([work[place] for place in group])
                    for place, answer in zip(group, answers, strict=True):
                        verdicts[place] = answer
            if numbered:
                appends = {place: unit for place in numbered if isinstance(unit := work[place], Append)}
                for place, verdict in (await self._compare_and_set(appends)).items():
                    verdicts[place] = verdict
        finally:
            self._leave()
        return verdicts

    async def scan(
        self,
        base: Key,
        *,
        after: Key | None = None,
        before: Key | None = None,
        reverse: bool = False,
        limit: int = 100,
        values: bool = True,
    ) -> Page:
        check_scan(base, after, before, limit)
        self._enter()
        try:
            return await self._list(base, after, before, reverse, min(limit, MAX_PAGE), values)
        except LimpetError:
            raise
        except self.client_errors as error:
            raise self._translate(error) from error
        finally:
            self._leave()

    async def clear(self, base: Key) -> int:
        check_scan(base, None, None, 1)
        return await super().clear(base)

    async def purge(self) -> int:
        self._check_open()
        return await super().purge()

    def watch(self, base: Key) -> AsyncIterator[frozenset[Key] | None]:
        raise UnsupportedError(f"{type(self).__name__} does not declare 'watch': read again every few seconds instead")

    # How.

    async def __end(self) -> None:
        if self._busy:
            await self._idle.wait()
        with self._translated():
            await self._close()

    async def _sent(self, units: Sequence[Work]) -> Sequence[Verdict]:
        try:
            return await self._commit(units)
        except LimpetError as error:  # first, for ours are OSErrors, which may be a client's errors too
            failure = error
        except self.client_errors as error:
            failure = self._translate(error)
            failure.__cause__ = error
        if isinstance(failure, UnavailableError) and failure.sent:
            return [await self._settle(unit, failure) for unit in units]
        return [failure] * len(units)

    async def _settle(self, unit: Work, cause: UnavailableError) -> Verdict:
        async def fetch(keys: Sequence[Key]) -> Sequence[Item | None]:
            with self._translated():
                return await self._fetch(keys, len(keys) == 1)

        async def send(again: Work) -> Verdict:
            with self._translated():
                (answer,) = await self._commit([again])
            return answer

        return await settle(unit, cause, fetch, send)

    async def _compare_and_set(self, appends: Mapping[int, Append]) -> dict[int, Verdict]:
        """Appends to one log as one batch, different logs side by side."""
        logs: dict[tuple[Key, Check], list[int]] = {}
        for place, unit in appends.items():
            logs.setdefault((unit.log, unit.check), []).append(place)
        parts = [
            places[start : start + _APPENDS_MERGED]
            for places in logs.values()
            for start in range(0, len(places), _APPENDS_MERGED)
        ]
        answers: dict[int, Verdict] = {}
        for found in await asyncio.gather(*(self._append_merged(part, appends) for part in parts)):
            answers |= found
        return answers

    async def _append_merged(self, places: list[int], appends: Mapping[int, Append]) -> dict[int, Verdict]:
        units = [appends[place] for place in places]
        merged = Append(units[0].log, tuple(put for unit in units for put in unit.puts), units[0].check)
        first: Verdict
        try:
            check_unit(merged, self.capabilities)
            first = await _defaults.append(self, merged)
        except TooLargeError:
            answers: dict[int, Verdict] = {}
            for place in places:
                answers[place] = await _defaults.verdict_of(_defaults.append(self, appends[place]))
            return answers
        except LimpetError as error:
            first = error
        offsets = accumulate((len(unit.puts) for unit in units), initial=0)
        return {
            place: first + offset if isinstance(first, int) else first
            for place, offset in zip(places, offsets, strict=False)
        }

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"{type(self).__name__} is closed: open a new one")
        if self._loop is None:
            raise ClosedError(f"{type(self).__name__} is not open yet: 'await driver.open()' or 'async with driver:'")
        if self._loop is not asyncio.get_running_loop():
            raise ForeignLoopError(
                f"{type(self).__name__} was opened on another event loop: open one driver per event loop"
            )

    def _enter(self) -> None:
        self._check_open()
        self._busy += 1

    def _leave(self) -> None:
        self._busy -= 1
        if self._closed and not self._busy:
            self._idle.set()

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Around a driver's own optional verbs: open, counted, its client's errors translated."""
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
            raise self._translate(error) from error
