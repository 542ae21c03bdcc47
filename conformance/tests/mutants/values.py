"""Wrong about values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from limpet.driver import Batch, Item, Key, Put, Value
from limpet.driver.kit import Record
from limpet_conformance.sections.values import Values
from toys.on_batches import OnBatches
from toys.shared_memory import SharedMemoryDriver

from . import caught_by


class _Changes(SharedMemoryDriver):
    """Changes a value on its way in or out."""

    def stored(self, value: Value) -> Value:
        return value

    def read(self, value: Value) -> Value | None:
        return value

    def write(self, net: Mapping[Key, Record | None]) -> None:
        super().write(
            {
                key: record and record._replace(value=None if record.value is None else self.stored(record.value))
                for key, record in net.items()
            }
        )

    def item(self, key: Key, record: Record | None, now: int, values: bool) -> Item | None:
        item = super().item(key, record, now, values)
        return item if item is None or item.value is None else replace(item, value=self.read(item.value))


class _ChangesText(_Changes):
    """Changes text on its way in."""

    def text(self, text: str) -> str:
        return text

    def stored(self, value: Value) -> Value:
        return self.text(value) if isinstance(value, str) else value


@caught_by(Values)
class TextComesBackAsBytes(_Changes):
    """One binary column for both, and nothing that tells them apart."""

    def read(self, value: Value) -> Value:
        return value.encode() if isinstance(value, str) else value


@caught_by(Values)
class BytesThatLookLikeText(_Changes):
    """Bytes that happen to be UTF-8 come back as text."""

    def read(self, value: Value) -> Value:
        if isinstance(value, bytes):
            try:
                return value.decode()
            except UnicodeDecodeError:
                return value
        return value


@caught_by(Values)
class EmptyIsEmpty(_Changes):
    """Empty text and empty bytes are one and the same."""

    def read(self, value: Value) -> Value:
        return value or ""


@caught_by(Values)
class EmptyIsNothing(_Changes):
    """An empty value is read as none."""

    def read(self, value: Value) -> Value | None:
        return value or None


@caught_by(Values)
class CutAtNul(_ChangesText):
    """Text ends at its first U+0000."""

    def text(self, text: str) -> str:
        return text.partition("\0")[0]


@caught_by(Values)
class NewlinesTranslated(_ChangesText):
    """A file that was opened in text mode."""

    def text(self, text: str) -> str:
        return text.replace("\r\n", "\n")


@caught_by(Values)
class Stripped(_ChangesText):
    """Blanks at the end are lost, as in a CHAR column."""

    def text(self, text: str) -> str:
        return text.rstrip(" ")


@caught_by(Values)
class JsonRewritten(_Changes):
    """A JSON column keeps what the text means, not what it was."""

    def stored(self, value: Value) -> Value:
        try:
            return json.dumps(json.loads(value)) if isinstance(value, str) else value
        except (ValueError, RecursionError):
            return value


@caught_by(Values)
class ThreeBytesACharacter(_ChangesText):
    """`utf8mb3`: what lies beyond the basic plane becomes a question mark."""

    def text(self, text: str) -> str:
        return "".join("?" if ord(character) > 0xFFFF else character for character in text)


@caught_by(Values)
class ByteOrderMarkLost(_ChangesText):
    """Decoded as `utf-8-sig`."""

    def text(self, text: str) -> str:
        return text.removeprefix("\ufeff")


@caught_by(Values)
class LargeValuesCut(_Changes):
    """A column of one mebibyte, and no strict mode."""

    def stored(self, value: Value) -> Value:
        return value[: 1024 * 1024]


@caught_by(Values)
class SurrogatesReplaced(OnBatches):
    """What UTF-8 cannot write is replaced in silence."""

    async def applied(self, batch: Batch) -> None:
        def mended(put: Put) -> Put:
            return (
                replace(put, value=put.value.encode(errors="replace").decode()) if isinstance(put.value, str) else put
            )

        await super().applied([mended(write) if isinstance(write, Put) else write for write in batch])


@caught_by(Values)
class BareItemsLoseTheirExpiry(SharedMemoryDriver):
    """Without its value, an item seems to last for ever."""

    def item(self, key: Key, record: Record | None, now: int, values: bool) -> Item | None:
        item = super().item(key, record, now, values)
        return item if item is None or values else replace(item, ttl_ms=None)
