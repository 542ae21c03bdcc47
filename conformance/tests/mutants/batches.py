"""Wrong about what one batch means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from limpet import ConflictError, InvalidValueError
from limpet.driver import Append, Batch, Check, Delete, Etag, If, Item, Key, Put, Unit, new_etag
from limpet.driver.kit import Evaluation, Record, evaluate
from limpet_conformance.sections.batches import Batches
from toys.on_batches import OnBatches
from toys.shared_memory import SharedMemoryDriver

from . import caught_by

Records = Mapping[Key, Record | None]


@caught_by(Batches)
class ConflictNamesAllKeys(SharedMemoryDriver):
    """A conflict names every key of the batch, also those whose condition holds."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        evaluation = evaluate(units, now, records)
        for place, (unit, outcome) in enumerate(zip(units, evaluation.outcomes, strict=True)):
            if isinstance(outcome, ConflictError) and not isinstance(unit, Append):
                keys = tuple(write.key for write in unit)
                evaluation.outcomes[place] = ConflictError(keys=keys, items=outcome.items)
        return evaluation


@caught_by(Batches)
class ConflictNamesNothing(SharedMemoryDriver):
    """A conflict names no key at all."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        evaluation = evaluate(units, now, records)
        evaluation.outcomes[:] = [
            ConflictError("no") if isinstance(v, ConflictError) else v for v in evaluation.outcomes
        ]
        return evaluation


@caught_by(Batches)
class ConflictCarriesWhatWasSent(SharedMemoryDriver):
    """A conflict carries the value that the caller wanted to put, not the one that is there."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        evaluation = evaluate(units, now, records)
        for unit, outcome in zip(units, evaluation.outcomes, strict=True):
            if isinstance(outcome, ConflictError) and not isinstance(unit, Append):
                sent = {write.key: write.value for write in unit if isinstance(write, Put)}
                items = {
                    at: item and replace(item, value=sent.get(at, item.value)) for at, item in outcome.items.items()
                }
                outcome.items = items
        return evaluation


@caught_by(Batches)
class ConflictCarriesEverything(SharedMemoryDriver):
    """A conflict carries all items however large they are."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        evaluation = evaluate(units, now, records)
        for outcome in evaluation.outcomes:
            if isinstance(outcome, ConflictError):
                found = {at: records.get(at) for at in outcome.keys}
                outcome.items = {at: r.item(at, now) if r else None for at, r in found.items()}
        return evaluation


@caught_by(Batches)
class RefusedButPartlyWritten(SharedMemoryDriver):
    """What stands before the failing condition is written all the same."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        evaluation = evaluate(units, now, records)
        for unit, outcome in zip(units, evaluation.outcomes, strict=True):
            if isinstance(outcome, ConflictError) and not isinstance(unit, Append):
                for write in unit:
                    if write.key in outcome.keys:
                        break
                    evaluation.effects.update(evaluate([[write]], now, records).effects)
        return evaluation


@caught_by(Batches)
class OwnEtagForgotten(SharedMemoryDriver):
    """A batch that was applied before is judged afresh when it is sent again."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        true: dict[Etag, Etag] = {}
        anew: list[Unit] = []
        for unit in units:
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
        evaluation = evaluate(anew, now, records)
        for at, record in evaluation.effects.items():
            if record is not None:
                evaluation.effects[at] = record._replace(etag=true.get(record.etag, record.etag))
        return evaluation


@caught_by(Batches)
class OwnEtagSkipsOnlyItsItem(SharedMemoryDriver):
    """A batch that meets its own etag leaves that item alone and does the rest a second time."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        def again(unit: Unit) -> Unit:
            if isinstance(unit, Append):
                return unit
            found = [(write, records.get(write.key)) for write in unit]
            left = [w for w, r in found if not (isinstance(w, Put) and r is not None and r.etag == w.etag)]
            return (
                unit
                if len(left) == len(unit)
                else [replace(write, cond=None) for write in left if not isinstance(write, Check)]
            )

        return evaluate([again(unit) for unit in units], now, records)


@caught_by(Batches)
class EachWriteItsOwnNow(SharedMemoryDriver):
    """The clock is read for each write of a batch."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        evaluation = evaluate(units, now, records)
        for step, (at, record) in enumerate(evaluation.effects.items()):
            if record is not None:
                evaluation.effects[at] = record._replace(updated_at=record.updated_at + step)
        return evaluation


@caught_by(Batches)
class LoneWriteDecidesAnotherWay(SharedMemoryDriver):
    """A batch of one is an upsert of its own, which takes an etag that nothing has for absence."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        def lone(unit: Unit) -> Unit:
            if (
                not isinstance(unit, Append)
                and len(unit) == 1
                and isinstance(unit[0], Put)
                and isinstance(unit[0].cond, str)
            ):
                return [replace(unit[0], cond=None)] if records.get(unit[0].key) is None else unit
            return unit

        return evaluate([lone(unit) for unit in units], now, records)


@caught_by(Batches)
class DeleteOfNothingIsRefused(SharedMemoryDriver):
    """An unconditional delete of an absent key refuses the batch."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        def strict(unit: Unit) -> Unit:
            if isinstance(unit, Append):
                return unit
            return [Delete(w.key, If.PRESENT) if isinstance(w, Delete) and w.cond is None else w for w in unit]

        return evaluate([strict(unit) for unit in units], now, records)


@caught_by(Batches)
class LastWriteOfAKeyWins(OnBatches):
    """A key that occurs twice in a batch is not refused; its last write counts."""

    async def applied(self, batch: Batch) -> None:
        await super().applied(list({write.key: write for write in batch}.values()))


@caught_by(Batches)
class CheckOfPresenceIsSkipped(SharedMemoryDriver):
    """A check that asks for presence, and not for an etag, is not looked at in company."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        def loose(unit: Unit) -> Unit:
            if isinstance(unit, Append) or len(unit) == 1:
                return unit
            return [write for write in unit if not (isinstance(write, Check) and write.cond is If.PRESENT)]

        return evaluate([loose(unit) for unit in units], now, records)


@caught_by(Batches)
class ConflictAsAnItemOfNothing(SharedMemoryDriver):
    """A conflict on an absent key carries an empty item where it should carry nothing."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        evaluation = evaluate(units, now, records)
        for outcome in evaluation.outcomes:
            if isinstance(outcome, ConflictError):
                empty = {at: item or Item(at, "", new_etag(), now) for at, item in outcome.items.items()}
                outcome.items = empty
        return evaluation


@caught_by(Batches)
class ItemsWithAnotherKey(SharedMemoryDriver):
    """An item tells its key as the backend spells it."""

    def item(self, key: Key, record: Record | None, now: int, values: bool) -> Item | None:
        item = super().item(key, record, now, values)
        return item and replace(item, key=f"store!{key}")


@caught_by(Batches)
class DeletedIsOnlyEmptied(SharedMemoryDriver):
    """A delete leaves an empty item."""

    def write(self, effects: Records) -> None:
        super().write({key: record or Record("", new_etag(), self.now()) for key, record in effects.items()})


@caught_by(Batches)
class NothingToDoIsAnError(OnBatches):
    """An empty batch is refused."""

    async def applied(self, batch: Batch) -> None:
        if not batch:
            raise InvalidValueError("nothing to do")
        await super().applied(batch)


@caught_by(Batches)
class AbsenceIsOverlooked(OnBatches):
    """A check that asks for absence is left out."""

    async def applied(self, batch: Batch) -> None:
        await super().applied([write for write in batch if isinstance(write, Put) or write.cond is not If.ABSENT])  # type: ignore[comparison-overlap]


@caught_by(Batches)
class OneByOneInSilence(OnBatches):
    """Declares that it writes single items, takes a batch all the same, and writes it item by item."""

    capabilities = replace(SharedMemoryDriver.capabilities, atomic="item")

    async def applied(self, batch: Batch) -> None:
        for write in batch:
            await super().applied([write])
