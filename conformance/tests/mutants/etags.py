"""Wrong about versions."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from limpet.driver import Append, Etag, Item, Key, Put, Unit, new_etag
from limpet.driver.kit import Evaluation, Record, evaluate
from limpet_conformance.sections.etags import Etags
from toys.shared_memory import SharedMemoryDriver

from . import caught_by

Records = Mapping[Key, Record | None]


class _Compares(SharedMemoryDriver):
    """Compares etags in a way of its own: two that `folded` makes alike are taken for one."""

    def folded(self, etag: str) -> str:
        return etag

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        def loose(write: Any) -> Any:
            record = records.get(write.key)
            if (
                isinstance(write.cond, str)
                and record is not None
                and self.folded(write.cond) == self.folded(record.etag)
            ):
                return replace(write, cond=record.etag)
            return write

        return evaluate(
            [unit if isinstance(unit, Append) else [loose(write) for write in unit] for unit in units], now, records
        )


@caught_by(Etags)
class ComparesWithoutCase(_Compares):
    """Etags are compared by a collation that folds letters."""

    def folded(self, etag: str) -> str:
        return etag.lower()


@caught_by(Etags)
class ComparesTrimmed(_Compares):
    """Trailing blanks do not count, as in a CHAR column."""

    def folded(self, etag: str) -> str:
        return etag.rstrip(" ")


@caught_by(Etags)
class ComparesTheBeginning(_Compares):
    """The column is two characters too short."""

    def folded(self, etag: str) -> str:
        return etag[:20]


@caught_by(Etags)
class ComparesAsPattern(_Compares):
    """Compares with LIKE: an underscore stands for any character."""

    def folded(self, etag: str) -> str:
        return "" if etag in ("%", "_" * 22) else etag

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        def loose(write: Any) -> Any:
            record = records.get(write.key)
            if record is not None and write.cond in ("%", "_" * 22):
                return replace(write, cond=record.etag)
            return write

        return evaluate(
            [unit if isinstance(unit, Append) else [loose(write) for write in unit] for unit in units], now, records
        )


class _Stores(SharedMemoryDriver):
    """Stores another etag than the writer's."""

    def etag(self, key: Key, record: Record) -> Etag:
        return record.etag

    def write(self, effects: Records) -> None:
        super().write({key: record and record._replace(etag=self.etag(key, record)) for key, record in effects.items()})


@caught_by(Etags)
class MakesItsOwnEtags(_Stores):
    """The backend makes the etag, and the writer's is forgotten."""

    def etag(self, key: Key, record: Record) -> Etag:
        return new_etag()


@caught_by(Etags)
class EtagIsAHashOfTheValue(_Stores):
    """Deleting and making the same again gives the same etag."""

    def etag(self, key: Key, record: Record) -> Etag:
        return Etag(urlsafe_b64encode(sha256(str(record.value).encode()).digest())[:22].decode())


@caught_by(Etags)
class SameValueKeepsItsEtag(_Stores):
    """A put that changes nothing is left out, etag and all."""

    def etag(self, key: Key, record: Record) -> Etag:
        old = self.place.records.get(key)
        return old.etag if old is not None and old.value == record.value else record.etag


@caught_by(Etags)
class BareListingsHaveNoEtags(SharedMemoryDriver):
    """Without values, a listing gives etags that it makes up."""

    def item(self, key: Key, record: Record | None, now: int, values: bool) -> Item | None:
        item = super().item(key, record, now, values)
        return item if item is None or values else replace(item, etag=new_etag())


@caught_by(Etags)
class RemembersTheDeleted(SharedMemoryDriver):
    """An etag that was there once still passes after its item was deleted and made again."""

    known: dict[tuple[Key, str], bool]

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        known = self.__dict__.setdefault("known", {})
        passes: Callable[[Any], Any] = lambda write: (  # noqa: E731
            replace(write, cond=record.etag)
            if (record := records.get(write.key)) is not None and (write.key, write.cond) in known
            else write
        )
        evaluation = evaluate([u if isinstance(u, Append) else [passes(w) for w in u] for u in units], now, records)
        for unit in units:
            if not isinstance(unit, Append):
                known.update({(write.key, write.etag): True for write in unit if isinstance(write, Put)})
        return evaluation


@caught_by(Etags)
class AnyEtagOfThePlace(SharedMemoryDriver):
    """An etag passes wherever it belongs to."""

    def evaluated(self, units: Sequence[Unit], now: int, records: Records) -> Evaluation:
        def loose(write: Any) -> Any:
            record = records.get(write.key)
            known = {other.etag for other in self.place.records.values()}
            return replace(write, cond=record.etag) if record is not None and write.cond in known else write

        return evaluate(
            [unit if isinstance(unit, Append) else [loose(w) for w in unit] for unit in units], now, records
        )
