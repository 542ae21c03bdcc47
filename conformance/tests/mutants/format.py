"""Wrong about what lasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limpet.driver import Item, Key, MemoryDriver, new_etag
from limpet.driver.kit import Record, host_now_ms
from limpet_conformance.sections.format import Format
from toys.shared_memory import SharedMemoryDriver

from . import caught_by


class _Reopens(SharedMemoryDriver):
    """Changes something whenever a place is opened."""

    def again(self, record: Record) -> Record:
        return record

    async def _open(self) -> None:
        self.place.records = {key: self.again(record) for key, record in self.place.records.items()}


@caught_by(Format)
class NewEtagsWhenOpened(_Reopens):
    """Etags are kept in memory and made anew."""

    def again(self, record: Record) -> Record:
        return record._replace(etag=new_etag())


@caught_by(Format)
class UpdatedWhenOpened(_Reopens):
    """Every item seems to have been updated when its place was opened."""

    def again(self, record: Record) -> Record:
        return record._replace(updated_at=host_now_ms() + 1)


@caught_by(Format)
class ExpiryForgottenWhenOpened(_Reopens):
    """What was to expire lives for ever once its place was closed."""

    def again(self, record: Record) -> Record:
        return record._replace(expires_at=None)


@caught_by(Format)
class ExpiryAnewWhenOpened(_Reopens):
    """The time to live begins again when a place is opened."""

    def again(self, record: Record) -> Record:
        if record.expires_at is None:
            return record
        return record._replace(expires_at=host_now_ms() + record.expires_at - record.updated_at)


@caught_by(Format)
class TextAndBytesForgottenWhenOpened(_Reopens):
    """Which values were bytes is known to the process that wrote them only."""

    def again(self, record: Record) -> Record:
        return record._replace(
            value=record.value.decode("latin-1") if isinstance(record.value, bytes) else record.value
        )


@caught_by(Format)
class DeletedComesBack(SharedMemoryDriver):
    """Deletes are remembered in memory and applied to the place never."""

    def write(self, net: Mapping[Key, Record | None]) -> None:
        gone = self.__dict__.setdefault("gone", {})
        for key, record in net.items():
            if record is None and key in self.place.records:
                gone[key] = self.place.records[key]
            else:
                gone.pop(key, None)
        super().write(net)

    async def _close(self) -> None:
        await super()._close()
        self.place.records.update(self.__dict__.get("gone", {}))


@caught_by(Format)
class SecondsSince1970(SharedMemoryDriver):
    """`updated_at` is in seconds."""

    def item(self, key: Key, record: Record | None, now: int, values: bool) -> Item | None:
        item = super().item(key, record, now, values)
        return item and replace(item, updated_at=item.updated_at // 1000)


@caught_by(Format)
class FractionsOfMilliseconds(SharedMemoryDriver):
    """The time left is a float, as some servers answer."""

    def item(self, key: Key, record: Record | None, now: int, values: bool) -> Item | None:
        item = super().item(key, record, now, values)
        if item is None or item.ttl_ms is None:
            return item
        left: Any = item.ttl_ms + 0.0
        return replace(item, ttl_ms=left)


@caught_by(Format)
class SharedAgainstItsWord(MemoryDriver):
    """Declares neither `shared` nor `durable`, and all drivers of the process see one map."""

    everything: dict[Key, Record] = {}  # noqa: RUF012 - that is the mistake

    @classmethod
    def from_url(cls, url: str) -> SharedAgainstItsWord:
        return cls()

    async def _open(self) -> None:
        self._records = self.everything
        for key in self.everything:
            self._order.add(key)

    async def _close(self) -> None:
        self._records = {}
