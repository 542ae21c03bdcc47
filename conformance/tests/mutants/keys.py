"""Wrong about keys."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256

from limpet import InvalidKeyError
from limpet.driver import Item, Key, Outcome, Page, Range, Unit
from limpet.driver.kit import Record
from limpet_conformance.sections.keys import Keys
from toys.shared_memory import SharedMemoryDriver

from . import caught_by


class _Renames(SharedMemoryDriver):
    """Stores items under keys that `stored` makes; two that it makes alike are one item."""

    def stored(self, key: Key) -> Key:
        return key

    async def _fetch(self, keys: Sequence[Key], values: bool) -> Sequence[Item | None]:
        return await super()._fetch([self.stored(key) for key in keys], values)

    def write(self, net: Mapping[Key, Record | None]) -> None:
        super().write({self.stored(key): record for key, record in net.items()})


@caught_by(Keys)
class FoldsLetters(_Renames):
    """Keys are compared without case, as many databases and file systems do."""

    def stored(self, key: Key) -> Key:
        return key.lower()


@caught_by(Keys)
class NormalisesUnicode(_Renames):
    """Keys are normalised: what is composed and what is not are one."""

    def stored(self, key: Key) -> Key:
        return unicodedata.normalize("NFC", key)


@caught_by(Keys)
class CutsLongKeys(_Renames):
    """The column holds 255 characters, and the rest is cut in silence."""

    def stored(self, key: Key) -> Key:
        return key[:255]


@caught_by(Keys)
class TrimsBlanks(_Renames):
    """Blanks at the end of a key do not count."""

    def stored(self, key: Key) -> Key:
        while key.endswith("#20"):
            key = key.removesuffix("#20")
        return key


@caught_by(Keys)
class CutsAtNul(_Renames):
    """A key ends at its first U+0000, as in C."""

    def stored(self, key: Key) -> Key:
        return key.partition("#00")[0] or key


class _Orders(SharedMemoryDriver):
    """Sorts in an order of its own."""

    def rank(self, key: Key) -> object:
        return key

    def between(self, low: Key, high: Key | None, reverse: bool) -> Iterator[Key]:
        found = [key for key in self.place.records if key >= low and (high is None or key < high)]
        return iter(sorted(found, key=self.rank, reverse=reverse))  # type: ignore[arg-type]


@caught_by(Keys)
class SegmentsJoinedByColons(_Orders):
    """Sorts as if a colon stood between segments, which comes behind digits, blanks and hyphens."""

    def rank(self, key: Key) -> object:
        return key.replace("!", ":")


@caught_by(Keys)
class SortsByUtf16(_Orders):
    """Sorts by UTF-16 code units, as Java and JavaScript do: an emoji comes before U+FFFF."""

    def rank(self, key: Key) -> object:
        return key.encode("utf-16-be")


@caught_by(Keys)
class SortsLikeADictionary(_Orders):
    """Sorts as a human language does, small letters beside capital ones."""

    def rank(self, key: Key) -> object:
        return (key.casefold(), key)


@caught_by(Keys)
class SortsNumbersAsNumbers(_Orders):
    """Sorts shorter keys first, so that 9 comes before 10 in text too."""

    def rank(self, key: Key) -> object:
        return (len(key), key)


@caught_by(Keys)
class OrderNotDeclared(SharedMemoryDriver):
    """Lists text in its own order, and declares that it does not."""

    capabilities = replace(SharedMemoryDriver.capabilities, text_order=False)


@caught_by(Keys)
class AnotherOrderBackwards(_Orders):
    """Has an order of its own for text, but each direction has another."""

    capabilities = replace(SharedMemoryDriver.capabilities, text_order=False)

    def between(self, low: Key, high: Key | None, reverse: bool) -> Iterator[Key]:
        found = super().between(low, high, reverse)
        return iter(sorted(found, key=hash_of if reverse else str))


@caught_by(Keys)
class NumbersHaveNoOrder(_Orders):
    """Text need not be in order, and numbers are not either."""

    capabilities = replace(SharedMemoryDriver.capabilities, text_order=False)

    def rank(self, key: Key) -> object:
        return hash_of(key)


def hash_of(key: Key) -> bytes:
    """An order that means nothing."""
    return sha256(key.encode()).digest()


class _Below(SharedMemoryDriver):
    """Takes other keys for descendants."""

    def is_below(self, key: Key, base: Key) -> bool:
        return key.startswith(base + "!")

    async def _list(self, range: Range) -> Page:
        if not range.base:
            return await super()._list(range)
        now = self.now()
        keys = sorted((key for key in self.place.records if self.is_below(key, range.base)), reverse=range.reverse)
        keys = [
            key
            for key in keys
            if (range.after is None or key > range.after) and (range.before is None or key < range.before)
        ]
        items = (self.item(key, self.place.records[key], now, range.values) for key in keys)
        return self.page((item for item in items if item is not None), range.limit)


@caught_by(Keys)
class SiblingsThatBeginAlike(_Below):
    """Everything that begins with the base is listed: below `a` comes `ab`."""

    def is_below(self, key: Key, base: Key) -> bool:
        return key.startswith(base) and key != base


@caught_by(Keys)
class TheBaseItself(_Below):
    """A base is listed below itself."""

    def is_below(self, key: Key, base: Key) -> bool:
        return key.startswith(base + "!") or key == base


@caught_by(Keys)
class ChildrenOnly(_Below):
    """Only the next level is listed."""

    def is_below(self, key: Key, base: Key) -> bool:
        return key.startswith(base + "!") and "!" not in key.removeprefix(base + "!")


@caught_by(Keys)
class WildcardsInABase(_Below):
    """The base is put into a LIKE without escaping: `%` and `_` match what they like."""

    def is_below(self, key: Key, base: Key) -> bool:
        head = key[: len(base)]
        alike = len(head) == len(base) and all(mine in (theirs, "_") for mine, theirs in zip(base, head, strict=True))
        return alike and key[len(base) : len(base) + 1] == "!"


@caught_by(Keys)
class TakesWhatIsNoKey(SharedMemoryDriver):
    """A key that is not encoded is looked for, and not found."""

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        try:
            return await super().get(keys, values=values)
        except InvalidKeyError:
            return [None] * len(keys)


@caught_by(Keys)
class RefusesLongKeys(SharedMemoryDriver):
    """Keys beyond 768 bytes, which an index of the backend cannot hold, are refused."""

    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        outcomes = list(await super()._commit(units))
        for place, unit in enumerate(units):
            if isinstance(unit, list | tuple) and any(len(write.key.encode()) > 768 for write in unit):
                outcomes[place] = InvalidKeyError("the key is too long for the index")
        return outcomes
