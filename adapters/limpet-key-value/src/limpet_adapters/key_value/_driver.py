"""A driver on a store of py-key-value."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from limpet import ConfigurationError, LimpetError, OutcomeUnknownError, UnavailableError
from limpet.driver import Capabilities, Health, Item, Key, Outcome, Page, Range, Unit
from limpet.driver.kit import BaseDriver, Record, SortedKeys, between, evaluate, host_now_ms, to_page

from key_value.aio.protocols.key_value import AsyncKeyValue

from ._log import CommitLog

__all__ = ["KeyValueDriver"]

_logger = logging.getLogger("limpet")

_COMPACT_AFTER = 1000
"""Commits; then, when there are as many as records, everything is written anew."""
_in_use: set[tuple[int, str]] = set()
"""Stores and collections that are open in this process."""


class KeyValueDriver(BaseDriver):
    """Limpet on any store of py-key-value: `create_persistence(KeyValueDriver(DynamoDBStore(...)))`.

    Such a store cannot compare and set, so **one driver in one process may have a collection open, and nobody else**. A
    second one in the process is refused. One in another process takes over: the first one notices it when it next writes, and
    refuses, but what it wrote at that very instant can be lost. All of the data is also in memory, and read from there. A batch
    is one value of the store, with everything that it changes: the store must accept values of 12 MiB for the largest one.
    """

    capabilities = Capabilities(durable="disk", append=True)
    client_errors: ClassVar[tuple[type[Exception], ...]] = (Exception,)  # whatever the store's client library raises

    def __init__(
        self,
        store: AsyncKeyValue,
        *,
        collection: str = "limpet",
        durable: Literal["no", "process", "disk"] = "no",
        clock: Callable[[], int] = host_now_ms,
    ) -> None:
        """`durable` says what a value survives that the store has accepted: nothing, the end of the process, a power failure.

        `clock` returns milliseconds since 1970. The store is yours: close it after the driver.
        """
        super().__init__()
        self.capabilities = replace(type(self).capabilities, durable=durable)
        self._log = CommitLog(store, collection)
        self._place = (id(store), collection)
        self._clock = clock
        self._records: dict[Key, Record] = {}
        self._order = SortedKeys()
        self._turn = asyncio.Lock()
        self._writing: set[asyncio.Task[list[Outcome]]] = set()
        self._is_unsure = False
        self._compact_at = _COMPACT_AFTER

    @property
    def tls_problem(self) -> str | None:
        return "a KeyValueDriver does not know whether its store's connections are protected by TLS"

    async def _open(self) -> None:
        if self._place in _in_use:
            raise ConfigurationError(
                "this store is open in another KeyValueDriver: share that one, or use another collection="
            )
        _in_use.add(self._place)
        try:
            self._records = await self._log.open()
        except BaseException:
            _in_use.discard(self._place)
            raise
        for key in self._records:
            self._order.add(key)

    async def _close(self) -> None:
        if self._writing:
            await asyncio.wait(self._writing)
        _in_use.discard(self._place)
        self._records, self._order = {}, SortedKeys()

    def _translate(self, error: Exception) -> LimpetError:
        return UnavailableError(f"the store failed ({type(error).__name__}: {error})")

    async def _fetch(self, keys: Sequence[Key], values: bool) -> list[Item | None]:
        now = self._clock()
        return [self._item(key, now, values) for key in keys]

    async def _list(self, range: Range) -> Page:
        return to_page(self._live(range), range.limit)

    async def _commit(self, units: Sequence[Unit]) -> list[Outcome]:
        # A caller who is cancelled does not cancel the write: it would be neither applied nor refused.
        task = asyncio.create_task(self._written(units))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        return await asyncio.shield(task)

    async def _written(self, units: Sequence[Unit]) -> list[Outcome]:
        async with self._turn:
            if self._is_unsure:
                raise UnavailableError(
                    "a write failed, and may be stored or not: close this driver, and open another one"
                )
            await self._log.check()
            evaluation = evaluate(units, self._clock(), self._records)
            if not evaluation.effects:
                return evaluation.outcomes
            self._is_unsure = True
            try:
                await self._log.append(evaluation.effects)
            except self.client_errors as error:
                unknown = OutcomeUnknownError(
                    f"the store failed ({type(error).__name__}: {error}): the write may be stored or not"
                )
                return [each if isinstance(each, Exception) else unknown for each in evaluation.outcomes]
            self._is_unsure = False
            for key, record in evaluation.effects.items():
                self._apply(key, record)
            await self._compact()
            return evaluation.outcomes

    async def _compact(self) -> None:
        """Write everything anew from time to time. The commit before is stored, whatever happens here."""
        if self._log.length < max(self._compact_at, len(self._records)):
            return
        self._drop_expired()
        try:
            parts = await self._log.write_snapshot(self._records)
            self._is_unsure = True
            await self._log.switch(parts)
            self._is_unsure = False
            self._compact_at = _COMPACT_AFTER
            await self._log.drop()
        except self.client_errors as error:
            self._compact_at = self._log.length + _COMPACT_AFTER
            _logger.warning("a store was not compacted, and will be later: %s: %s", type(error).__name__, error)

    async def _purge(self) -> tuple[int, bool]:
        async with self._turn:
            return self._drop_expired(), False

    async def _health(self) -> Health:
        details = {"items": str(len(self._records)), "commits": str(self._log.length)}
        return Health("py-key-value", "1", self._clock(), (), details)

    def _drop_expired(self) -> int:
        now = self._clock()
        gone = [key for key, record in self._records.items() if record.gone(now)]
        for key in gone:
            self._apply(key, None)
        return len(gone)

    def _item(self, key: Key, now: int, values: bool) -> Item | None:
        record = self._records.get(key)
        return None if record is None or record.gone(now) else record.item(key, now, values=values)

    def _live(self, range: Range) -> Iterator[Item]:
        now = self._clock()
        low, high = between(range)
        for key in self._order.between(low, high, reverse=range.reverse):
            item = self._item(key, now, range.values)
            if item is not None:
                yield item

    def _apply(self, key: Key, record: Record | None) -> None:
        if record is None:
            if self._records.pop(key, None) is not None:
                self._order.remove(key)
            return
        if key not in self._records:
            self._order.add(key)
        self._records[key] = record
