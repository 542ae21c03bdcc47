"""Whatever somebody writes without the key: each key shows what was once written at that key, nothing, or a typed error."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from limpet import CorruptDataError, LimpetError
from limpet.driver import Delete, Driver, Item, Key, MemoryDriver, Put, key, name, new_etag, text
from limpet.driver.kit import scan_all
from limpet.structures import Log
from limpet.wrappers import Encrypted

KEY = bytes(range(32))
KEYS = [key(name("kv"), text(who)) for who in ("ada", "bob", "eve")]
LOGS = [key(name("messages"), text(session)) for session in ("s", "t")]

Move = tuple[str, int, int]
MOVES = st.tuples(
    st.sampled_from(["put", "append", "swap", "copy", "delete", "put back", "flip", "cut", "plain", "etag"]),
    st.integers(0, 99),
    st.integers(0, 99),
)


class Play:
    """An application that writes through encryption, and somebody who writes to the database beside it."""

    def __init__(self, inner: Driver, driver: Driver) -> None:
        self.inner = inner
        self.driver = driver
        self.written: dict[Key, set[str]] = {at: set() for at in KEYS}
        self.appended: dict[Key, dict[int, str]] = {at: {} for at in LOGS}
        self.seen: list[Item] = []

    async def move(self, move: Move, turn: int) -> None:
        what, n, m = move
        if what == "put":
            at, value = KEYS[n % len(KEYS)], f"value {turn}"
            await self.driver.apply([Put(at, value)])
            self.written[at].add(value)
        elif what == "append":
            base, value = LOGS[n % len(LOGS)], f"entry {turn}"
            try:
                number = await Log(self.driver, base).append(value)
            except LimpetError:
                return
            assert number not in self.appended[base], "a number was given twice"
            self.appended[base][number] = value
        else:
            items = [item async for item in scan_all(self.inner, "") if not item.key.startswith("keyring")]
            self.seen += items
            one, other = items[n % len(items)], items[m % len(items)]
            for item in _forged(what, one, other, self.seen[m % len(self.seen)], m):
                await self.inner.apply([Delete(item.key)])
                if item.value is not None:
                    await self.inner.apply([Put(item.key, item.value, etag=item.etag)])

    async def check(self) -> None:
        for at in KEYS:
            try:
                (item,) = await self.driver.get([at])
            except CorruptDataError:
                continue
            assert item is None or item.value in self.written[at], f"{at} shows what was never written there"
        for base in LOGS:
            for number, value in self.appended[base].items():
                try:
                    entry = await Log(self.driver, base).get(number)
                except CorruptDataError:
                    continue
                assert entry is None or entry.value == value, f"number {number} of {base} shows another entry"
            try:
                entries = await Log(self.driver, base).read()
            except CorruptDataError:
                continue
            assert {entry.seq: entry.value for entry in entries}.items() <= self.appended[base].items()


def _forged(what: str, one: Item, other: Item, earlier: Item, m: int) -> Sequence[Item]:
    raw = one.value if isinstance(one.value, bytes) else b""
    at = m % max(1, len(raw))
    value: dict[str, Sequence[Item]] = {
        "swap": [Item(one.key, other.value, other.etag, 0), Item(other.key, one.value, one.etag, 0)],
        "copy": [Item(one.key, other.value, other.etag, 0)],
        "delete": [Item(one.key, None, one.etag, 0)],
        "put back": [earlier],
        "flip": [Item(one.key, raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :] if raw else b"x", one.etag, 0)],
        "cut": [Item(one.key, raw[:at], one.etag, 0)],
        "plain": [Item(one.key, str(m), one.etag, 0)],
        "etag": [Item(one.key, one.value, new_etag(), 0)],
    }
    return value[what]


@settings(max_examples=150, deadline=None)
@given(st.lists(MOVES, max_size=25))
def test_nothing_is_shown_that_was_not_written_there(moves: list[Move]) -> None:
    async def play() -> None:
        async with MemoryDriver() as inner, Encrypted(inner, key=KEY) as driver:
            playing = Play(inner, driver)
            for base in LOGS:
                await Log(driver, base).create()
            for turn, at in enumerate([*KEYS, *LOGS, *LOGS]):
                kind = "put" if at in KEYS else "append"
                await playing.move((kind, (KEYS if at in KEYS else LOGS).index(at), 0), turn)
            for turn, move in enumerate(moves, 100):
                await playing.move(move, turn)
                await playing.check()

    asyncio.run(play())
