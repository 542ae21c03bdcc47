"""Wrong about what one batch means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from limpet import ConflictError, InvalidValueError
from limpet.driver import (
    Append,
    Batch,
    Check,
    Delete,
    Etag,
    If,
    Item,
    Judgement,
    Key,
    Put,
    Record,
    Work,
    judge,
    new_etag,
)
from limpet_conformance.sections.batches import Batches
from toys.shared_memory import SharedMemoryDriver

from . import caught_by

Records = Mapping[Key, Record | None]


@caught_by(Batches)
class ConflictNamesAllKeys(SharedMemoryDriver):
    """A conflict names every key of the batch, also those whose condition holds."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        judgement = judge(work, now, records)
        for place, (unit, verdict) in enumerate(zip(work, judgement.verdicts, strict=True)):
            if isinstance(verdict, ConflictError) and not isinstance(unit, Append):
                keys = tuple(write.key for write in unit)
                judgement.verdicts[place] = ConflictError(keys=keys, items=verdict.items)
        return judgement


@caught_by(Batches)
class ConflictNamesNothing(SharedMemoryDriver):
    """A conflict names no key at all."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        judgement = judge(work, now, records)
        judgement.verdicts[:] = [ConflictError("no") if isinstance(v, ConflictError) else v for v in judgement.verdicts]
        return judgement


@caught_by(Batches)
class ConflictCarriesWhatWasSent(SharedMemoryDriver):
    """A conflict carries the value that the caller wanted to put, not the one that is there."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        judgement = judge(work, now, records)
        for unit, verdict in zip(work, judgement.verdicts, strict=True):
            if isinstance(verdict, ConflictError) and not isinstance(unit, Append):
                sent = {write.key: write.value for write in unit if isinstance(write, Put)}
                items = {
                    at: item and replace(item, value=sent.get(at, item.value)) for at, item in verdict.items.items()
                }
                verdict.items = items
        return judgement


@caught_by(Batches)
class ConflictCarriesEverything(SharedMemoryDriver):
    """A conflict carries all items however large they are."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        judgement = judge(work, now, records)
        for verdict in judgement.verdicts:
            if isinstance(verdict, ConflictError):
                found = {at: records.get(at) for at in verdict.keys}
                verdict.items = {at: r.item(at, now) if r else None for at, r in found.items()}
        return judgement


@caught_by(Batches)
class RefusedButPartlyWritten(SharedMemoryDriver):
    """What stands before the failing condition is written all the same."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        judgement = judge(work, now, records)
        for unit, verdict in zip(work, judgement.verdicts, strict=True):
            if isinstance(verdict, ConflictError) and not isinstance(unit, Append):
                for write in unit:
                    if write.key in verdict.keys:
                        break
                    judgement.net.update(judge([[write]], now, records).net)
        return judgement


@caught_by(Batches)
class OwnEtagForgotten(SharedMemoryDriver):
    """A batch that was applied before is judged afresh when it is sent again."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        true: dict[Etag, Etag] = {}
        anew: list[Work] = []
        for unit in work:
            if isinstance(unit, Append):
                anew.append(unit)
                continue
            writes = [replace(write, etag=new_etag()) if isinstance(write, Put) else write for write in unit]
            true |= {
                new.etag: old.etag
                for new, old in zip(writes, unit, strict=True)
                if isinstance(new, Put) and isinstance(old, Put)
            }
            anew.append(writes)
        judgement = judge(anew, now, records)
        for at, record in judgement.net.items():
            if record is not None:
                judgement.net[at] = record._replace(etag=true.get(record.etag, record.etag))
        return judgement


@caught_by(Batches)
class OwnEtagSkipsOnlyItsItem(SharedMemoryDriver):
    """A batch that meets its own etag leaves that item alone and does the rest a second time."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        def again(unit: Work) -> Work:
            if isinstance(unit, Append):
                return unit
            found = [(write, records.get(write.key)) for write in unit]
            left = [w for w, r in found if not (isinstance(w, Put) and r is not None and r.etag == w.etag)]
            return (
                unit
                if len(left) == len(unit)
                else [replace(write, cond=None) for write in left if not isinstance(write, Check)]
            )

        return judge([again(unit) for unit in work], now, records)


@caught_by(Batches)
class EachWriteItsOwnNow(SharedMemoryDriver):
    """The clock is read for each write of a batch."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        judgement = judge(work, now, records)
        for step, (at, record) in enumerate(judgement.net.items()):
            if record is not None:
                judgement.net[at] = record._replace(updated_at=record.updated_at + step)
        return judgement


@caught_by(Batches)
class LoneWriteDecidesAnotherWay(SharedMemoryDriver):
    """A batch of one is an upsert of its own, which takes an etag that nothing has for absence."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        def lone(unit: Work) -> Work:
            if (
                not isinstance(unit, Append)
                and len(unit) == 1
                and isinstance(unit[0], Put)
                and isinstance(unit[0].cond, str)
            ):
                return [replace(unit[0], cond=None)] if records.get(unit[0].key) is None else unit
            return unit

        return judge([lone(unit) for unit in work], now, records)


@caught_by(Batches)
class DeleteOfNothingIsRefused(SharedMemoryDriver):
    """An unconditional delete of an absent key refuses the batch."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        def strict(unit: Work) -> Work:
            if isinstance(unit, Append):
                return unit
            return [Delete(w.key, If.PRESENT) if isinstance(w, Delete) and w.cond is None else w for w in unit]

        return judge([strict(unit) for unit in work], now, records)


@caught_by(Batches)
class LastWriteOfAKeyWins(SharedMemoryDriver):
    """A key that occurs twice in a batch is not refused; its last write counts."""

    async def apply(self, batch: Batch) -> None:
        await super().apply(list({write.key: write for write in batch}.values()))


@caught_by(Batches)
class CheckOfPresenceIsSkipped(SharedMemoryDriver):
    """A check that asks for presence, and not for an etag, is not looked at in company."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        def loose(unit: Work) -> Work:
            if isinstance(unit, Append) or len(unit) == 1:
                return unit
            return [write for write in unit if not (isinstance(write, Check) and write.cond is If.PRESENT)]

        return judge([loose(unit) for unit in work], now, records)


@caught_by(Batches)
class ConflictAsAnItemOfNothing(SharedMemoryDriver):
    """A conflict on an absent key carries an empty item where it should carry nothing."""

    def judged(self, work: Sequence[Work], now: int, records: Records) -> Judgement:
        judgement = judge(work, now, records)
        for verdict in judgement.verdicts:
            if isinstance(verdict, ConflictError):
                empty = {at: item or Item(at, "", new_etag(), now) for at, item in verdict.items.items()}
                verdict.items = empty
        return judgement


@caught_by(Batches)
class ItemsWithAnotherKey(SharedMemoryDriver):
    """An item tells its key as the backend spells it."""

    def item(self, key: Key, record: Record | None, now: int, values: bool) -> Item | None:
        item = super().item(key, record, now, values)
        return item and replace(item, key=f"store!{key}")


@caught_by(Batches)
class DeletedIsOnlyEmptied(SharedMemoryDriver):
    """A delete leaves an empty item."""

    def write(self, net: Records) -> None:
        super().write({key: record or Record("", new_etag(), self.now()) for key, record in net.items()})


@caught_by(Batches)
class NothingToDoIsAnError(SharedMemoryDriver):
    """An empty batch is refused."""

    async def apply(self, batch: Batch) -> None:
        if not batch:
            raise InvalidValueError("nothing to do")
        await super().apply(batch)


@caught_by(Batches)
class AbsenceIsOverlooked(SharedMemoryDriver):
    """A check that asks for absence is left out."""

    async def apply(self, batch: Batch) -> None:
        await super().apply([write for write in batch if isinstance(write, Put) or write.cond is not If.ABSENT])  # type: ignore[comparison-overlap]


@caught_by(Batches)
class OneByOneInSilence(SharedMemoryDriver):
    """Declares that it writes single items, takes a batch all the same, and writes it item by item."""

    capabilities = replace(SharedMemoryDriver.capabilities, atomic="item")

    async def apply(self, batch: Batch) -> None:
        for write in batch:
            await super().apply([write])
