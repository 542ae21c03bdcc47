"""Appends in an encrypted database: numbered before they are encrypted, so that each entry is bound to its number."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from ..._errors import ConflictError, CorruptDataError, LimpetError, TooLargeError
from ...driver import KEEP, Append, Batch, Capabilities, Etag, If, Item, Key, Outcome, Put, Unit, entry_key
from ...driver.kit import Owner, backoff, counter_value

__all__ = ["Appending"]

_REMEMBERED = 4096
_LAST = 10**16 - 1


class _Next(NamedTuple):
    """The next number of a log, and the condition under which it still is."""

    number: int
    cond: Etag | If


class _Waiting(NamedTuple):
    unit: Append
    size: int
    future: asyncio.Future[Outcome]


class Appending:
    """Turns an append into a batch that writes the log's counter under its etag, and the entries at their numbers.

    A backend would assign the number after the value was encrypted. The remembered counter is a guess that the batch
    verifies. It is right, and the append takes one call, unless another process has appended to this log; then the
    conflict contains the current counter. Appends of this process to one log take turns, and those that wait are sent
    together.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Batch]], Awaitable[list[Outcome]]],
        read: Callable[[Sequence[Key]], Awaitable[list[Item | None]]],
        limits: Capabilities,
    ) -> None:
        """`commit` applies batches and `read` gets items, both with the caller's keys and values."""
        self._commit = commit
        self._read = read
        self._owner = Owner()
        self._next: dict[Key, _Next] = {}
        self._turns: dict[Key, deque[_Waiting]] = {}
        """The logs with an append under way, and the appends that wait for each."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._limits = limits

    def expect(self, put: Put) -> None:
        """Note that a counter is being written: if that succeeds, the next append will find this."""
        number = counter_value(put.value)
        if number is not None:
            self._remember(put.key, _Next(number, put.etag))

    def saw(self, counter: Key, item: Item) -> None:
        """Note that a counter was read, perhaps a moment ago: it replaces what is known only if it is higher."""
        number, known = counter_value(item.value), self._next.get(counter)
        if number is not None and (known is None or number > known.number):
            self._remember(counter, _Next(number, item.etag))

    def puts(self, unit: Unit, outcome: Outcome) -> list[Put]:
        """Return what an applied unit put, including an append's counter, as far as it still exists."""
        if not isinstance(unit, Append):
            return [write for write in unit if isinstance(write, Put)]
        puts = _entries(unit, outcome) if isinstance(outcome, int) else []
        known = self._next.get(unit.log)
        if known is not None and not isinstance(known.cond, If):
            puts.append(Put(unit.log, str(known.number), etag=known.cond))
        return puts

    async def append(self, units: Sequence[tuple[Append, int]]) -> list[Outcome]:
        """Commit validated appends, each with its size in bytes."""
        waiting: list[_Waiting] = []
        mine: dict[Key, deque[_Waiting]] = {}
        loop = asyncio.get_running_loop()
        for unit, size in units:
            turns = self._turns.get(unit.log)
            if turns is None:
                turns = mine[unit.log] = self._turns[unit.log] = deque()
            elif unit.log not in mine:
                self._owner.check("the driver")  # in a forked child, nobody would end that turn
            waiting.append(_Waiting(unit, size, loop.create_future()))
            turns.append(waiting[-1])
        try:
            try:
                if mine:
                    await self._send([self._take(turns) for turns in mine.values()])
            finally:
                for log in mine:
                    self._go_on(log)
            if elsewhere := [each.future for each in waiting if not each.future.done()]:
                await asyncio.gather(*elsewhere)
            return [each.future.result() for each in waiting]
        except BaseException:
            for each in waiting:
                each.future.cancel()
            raise

    async def drained(self) -> None:
        """Return when nothing is under way any more, including calls whose callers were cancelled."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _go_on(self, log: Key) -> None:
        if self._turns[log]:
            task = asyncio.create_task(self._groups(log))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            del self._turns[log]

    async def _groups(self, log: Key) -> None:
        turns = self._turns[log]
        try:
            while group := self._take(turns):
                try:
                    await self._send([group])
                except Exception as error:  # noqa: BLE001 - handed to every caller, not swallowed
                    for waiting in group:
                        if not waiting.future.done():
                            waiting.future.set_exception(error)
                finally:  # a cancelled task leaves nobody waiting
                    for waiting in group:
                        waiting.future.cancel()
        finally:
            del self._turns[log]
            for waiting in turns:
                waiting.future.cancel()

    def _take(self, turns: deque[_Waiting]) -> list[_Waiting]:
        """Take those that fit in one batch: with the same check, and within the limits."""
        group: list[_Waiting] = []
        writes, size = 2, 0
        while turns:
            first = turns[0]
            if first.future.cancelled():
                turns.popleft()
                continue
            writes, size = writes + len(first.unit.puts), size + first.size
            if group and (
                first.unit.check != group[0].unit.check
                or writes > self._limits.max_writes
                or size > self._limits.max_batch_bytes
            ):
                break
            group.append(turns.popleft())
        return group

    async def _send(self, groups: Sequence[Sequence[_Waiting]]) -> None:
        """Commit groups, each of a different log."""
        for group, outcome in zip(groups, await self._numbered(list(map(_merged, groups))), strict=True):
            if isinstance(outcome, TooLargeError) and len(group) > 1:
                for waiting in group:
                    await self._send([[waiting]])
                continue
            for waiting in group:
                if not waiting.future.done():
                    waiting.future.set_result(outcome)
                if isinstance(outcome, int):
                    outcome += len(waiting.unit.puts)

    async def _numbered(self, units: Sequence[Append]) -> list[Outcome]:
        """Return the outcomes of appends to different logs, repeating those that lost a race."""
        outcomes: dict[Key, Outcome] = {}
        left, attempt = list(units), 0
        while left:
            batches: list[Batch] = []
            guesses: list[tuple[Append, _Next, Put]] = []
            for unit, guess in zip(left, await self._guessed([unit.log for unit in left]), strict=True):
                if isinstance(guess, LimpetError):
                    outcomes[unit.log] = guess
                elif guess.number + len(unit.puts) > _LAST:
                    outcomes[unit.log] = TooLargeError(
                        f"the log at {unit.log!r} is full: it has used all of its {_LAST} numbers"
                    )
                else:
                    counter = Put(unit.log, str(guess.number + len(unit.puts)), guess.cond, KEEP)
                    batches.append([unit.check, counter, *_entries(unit, guess.number)])
                    guesses.append((unit, guess, counter))
            left = []
            for (unit, guess, counter), outcome in zip(guesses, await self._commit(batches), strict=True):
                if outcome is None:
                    self.expect(counter)
                    outcomes[unit.log] = guess.number
                elif await self._was_late(unit, guess, outcome, outcomes):
                    left.append(unit)
            if left and attempt:  # the first time, the remembered counter was out of date
                await backoff(attempt)
            attempt += 1
        return [outcomes[unit.log] for unit in units]

    async def _guessed(self, logs: Sequence[Key]) -> list[_Next | LimpetError]:
        unknown = [log for log in logs if log not in self._next]
        found: dict[Key, _Next | LimpetError] = {}
        for start in range(0, len(unknown), self._limits.max_keys):
            part = unknown[start : start + self._limits.max_keys]
            try:
                items = await self._read(part)
            except LimpetError as error:
                found |= dict.fromkeys(part, error)
            else:
                found |= {log: _next_by(log, item) for log, item in zip(part, items, strict=True)}
        return [found[log] if log in found else self._next[log] for log in logs]

    async def _was_late(
        self, unit: Append, guess: _Next, outcome: Exception | int, outcomes: dict[Key, Outcome]
    ) -> bool:
        """Return whether an append was refused only because its number is taken.

        Any other outcome goes to `outcomes`.
        """
        log = unit.log
        self._next.pop(log, None)
        outcomes[log] = outcome
        if not isinstance(outcome, ConflictError):
            return False
        if unit.check.key in outcome.keys:
            if log not in outcome.keys and not isinstance(guess.cond, If):
                self._remember(log, guess)
            found = {at: item for at, item in outcome.items.items() if at == unit.check.key}
            outcomes[log] = ConflictError(keys=(unit.check.key,), items=found)
            return False
        try:
            item = outcome.items[log] if log in outcome.items else (await self._read([log]))[0]
        except LimpetError as error:
            outcomes[log] = error
            return False
        now = _next_by(log, item)
        if isinstance(now, LimpetError):
            outcomes[log] = now
        elif now.cond == guess.cond:  # the counter was not what had changed
            taken = next((at for at in outcome.keys if at != log), log)
            outcomes[log] = CorruptDataError(
                f"the log at {log!r} says that its next number is {guess.number}, but there is an entry at {taken!r}: "
                "its counter was set back to an earlier value",
                key=log,
            )
        else:
            if not isinstance(now.cond, If):
                self._remember(log, now)
            return True
        return False

    def _remember(self, counter: Key, following: _Next) -> None:
        if len(self._next) >= _REMEMBERED and counter not in self._next:
            del self._next[next(iter(self._next))]
        self._next[counter] = following


def _merged(group: Sequence[_Waiting]) -> Append:
    first = group[0].unit
    return Append(first.log, tuple([put for waiting in group for put in waiting.unit.puts]), first.check)


def _entries(unit: Append, first: int) -> list[Put]:
    return [
        Put(entry_key(put.key, n), put.value, If.ABSENT, put.ttl_ms, put.etag) for n, put in enumerate(unit.puts, first)
    ]


def _next_by(log: Key, item: Item | None) -> _Next | LimpetError:
    number = 0 if item is None else counter_value(item.value)
    if number is None:
        return CorruptDataError(f"the item at {log!r} should be the next number of a log, but is not", key=log)
    return _Next(number, If.ABSENT if item is None else item.etag)
