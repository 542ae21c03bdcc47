"""Wrong about time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from limpet.driver import KEEP, Append, Batch, Item, Key, Put, Unit
from limpet.driver.kit import Evaluation, Record, evaluate
from limpet_conformance.sections.expiry import Expiry
from toys.on_batches import OnBatches
from toys.shared_memory import SharedMemoryDriver

from . import caught_by

Records = Mapping[Key, Record | None]


class _Writes(SharedMemoryDriver):
    """Decides about the expiry of what is written in a way of its own."""

    def expiry(self, put: Put, old: Record | None, new: Record, now: int) -> int | None:
        return new.expires_at

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        evaluation = evaluate(units, now, records)
        for unit in units:
            for put in unit.puts if isinstance(unit, Append) else unit:
                new = evaluation.effects.get(put.key)
                if isinstance(put, Put) and new is not None and new.etag == put.etag:
                    expires = self.expiry(put, records.get(put.key), new, now)
                    evaluation.effects[put.key] = new._replace(expires_at=expires)
        return evaluation


@caught_by(Expiry)
class ExpiredAreListed(SharedMemoryDriver):
    """A scan shows items until somebody has removed them."""

    listing = False

    async def _list(self, *args: object) -> object:  # type: ignore[override]
        self.listing = True
        try:
            return await super()._list(*args)  # type: ignore[arg-type]
        finally:
            self.listing = False

    def item(self, key: Key, record: Record | None, now: int, values: bool) -> Item | None:
        return super().item(key, record, 0 if self.listing else now, values)


@caught_by(Expiry)
class ExpiredAreThereForConditions(SharedMemoryDriver):
    """Reads hide what has expired, conditions still see it."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        alive = {key: record and record._replace(expires_at=None) for key, record in records.items()}
        return evaluate(units, now, alive)


@caught_by(Expiry)
class KeepDropsTheExpiry(_Writes):
    """KEEP stores an item that never expires."""

    def expiry(self, put: Put, old: Record | None, new: Record, now: int) -> int | None:
        return None if put.ttl_ms is KEEP else new.expires_at


@caught_by(Expiry)
class KeepStartsAnew(_Writes):
    """KEEP gives the item its whole time again."""

    def expiry(self, put: Put, old: Record | None, new: Record, now: int) -> int | None:
        if put.ttl_ms is KEEP and old is not None and old.expires_at is not None:
            return now + (old.expires_at - old.updated_at)
        return new.expires_at


@caught_by(Expiry)
class KeepOfAnExpiredItem(_Writes):
    """KEEP takes over the expiry of an item that is gone."""

    def expiry(self, put: Put, old: Record | None, new: Record, now: int) -> int | None:
        return old.expires_at if put.ttl_ms is KEEP and old is not None else new.expires_at


@caught_by(Expiry)
class PlainPutKeepsTheExpiry(_Writes):
    """A put without a time to live leaves the old one."""

    def expiry(self, put: Put, old: Record | None, new: Record, now: int) -> int | None:
        return old.expires_at if put.ttl_ms is None and old is not None else new.expires_at


@caught_by(Expiry)
class LaterExpiryWins(_Writes):
    """A put never shortens the time that is left."""

    def expiry(self, put: Put, old: Record | None, new: Record, now: int) -> int | None:
        both = [at for at in (old and old.expires_at, new.expires_at) if at]
        return max(both) if put.ttl_ms is not None and both else new.expires_at


@caught_by(Expiry)
class WholeSeconds(_Writes):
    """The backend counts in seconds and rounds up."""

    def expiry(self, put: Put, old: Record | None, new: Record, now: int) -> int | None:
        return None if new.expires_at is None else -(-new.expires_at // 1000) * 1000


@caught_by(Expiry)
class TheClientsClock(SharedMemoryDriver):
    """Asks the wall clock of the calling process."""

    def now(self) -> int:
        return int(time.time() * 1000)


@caught_by(Expiry)
class TimeLeftStandsStill(SharedMemoryDriver):
    """The time left is always the time that was given."""

    def item(self, key: Key, record: Record | None, now: int, values: bool) -> Item | None:
        item = super().item(key, record, now, values)
        if item is None or record is None or record.expires_at is None:
            return item
        return replace(item, ttl_ms=record.expires_at - record.updated_at)


@caught_by(Expiry)
class AMillisecondTooLong(SharedMemoryDriver):
    """An item is gone after its last millisecond instead of with it."""

    def item(self, key: Key, record: Record | None, now: int, values: bool) -> Item | None:
        return super().item(key, record, now - 1, values)


@caught_by(Expiry)
class ZeroMeansForEver(OnBatches):
    """A time to live of nothing is taken for none."""

    async def applied(self, batch: Batch) -> None:
        await super().applied([replace(w, ttl_ms=None) if isinstance(w, Put) and w.ttl_ms == 0 else w for w in batch])


@caught_by(Expiry)
class PurgeTakesWhatLives(SharedMemoryDriver):
    """Purging frees everything that will ever expire."""

    async def purge(self) -> int:
        gone = [key for key, record in self.place.records.items() if record.expires_at is not None]
        for key in gone:
            del self.place.records[key]
        return len(gone)


@caught_by(Expiry)
class RefusedButShortened(SharedMemoryDriver):
    """A refused put has already set its time to live."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        evaluation = evaluate(units, now, records)
        for unit in units:
            for put in () if isinstance(unit, Append) else unit:
                old = records.get(put.key)
                if isinstance(put, Put) and isinstance(put.ttl_ms, int) and old and put.key not in evaluation.effects:
                    evaluation.effects[put.key] = old._replace(expires_at=now + put.ttl_ms)
        return evaluation


@caught_by(Expiry)
class UpdatedWhenItWasMade(SharedMemoryDriver):
    """`updated_at` says when an item was first put."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        evaluation = evaluate(units, now, records)
        for at, record in evaluation.effects.items():
            old = records.get(at)
            if record is not None and old is not None:
                evaluation.effects[at] = record._replace(updated_at=old.updated_at)
        return evaluation


@caught_by(Expiry)
class EachItemByItsOwnClock(SharedMemoryDriver):
    """A read asks for the time anew for each item."""

    async def _fetch(self, keys: Sequence[Key], values: bool) -> Sequence[Item | None]:
        items = []
        for key in keys:
            items.append(self.item(key, self.place.records.get(key), self.now(), values))
            if len(keys) > 100:
                time.sleep(0.00005)  # noqa: ASYNC251 - rows take their time
        return items
