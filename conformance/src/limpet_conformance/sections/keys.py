"""Clause 4, keys: any text, one order on every backend, nothing folded, matched or truncated."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limpet import InvalidKeyError
from limpet.driver import MAX_KEY_BYTES, Check, Delete, Driver, Key, Put, Range, key, name, number, text

from .._requires import requires
from .._suite import Section
from ..machinery.awkward_keys import KEYS, TEXTS, in_order
from ..machinery.reading import walk

__all__ = ["Keys"]

KV = name("kv")
_NOT_ENCODED: tuple[Any, ...] = (
    "", "!", "a!", "!a", "a!!b", "A", "aB", "a b", "a:b", "a/b", "é", "1", "123", "00000000000000000", "-a", "_a", ".a",
    "@a b", "@a#", "@a#2", "@a#zz", "@a#41", "@#0A", '@a"', '@"short', '@a"' + "x" * 23, "@a\x00", "@a\n", "kv!@a!b c",
    "@\ud800", "x" * (MAX_KEY_BYTES + 1), "@" + "é" * 512, None, b"kv", 7, ("kv",),
)  # fmt: skip


class Keys(Section):
    """The order and the names of the map."""

    async def test_every_awkward_key_keeps_its_own_value(self, driver: Driver) -> None:
        await _fill(driver, KEYS)
        items = {item.key: item.value for item in await driver.get(KEYS) if item is not None}
        wrong = [at for at in KEYS if items.get(at) != f"value of {at}"]
        assert not wrong, f"get() gives other items for {wrong[:5]}"
        listed = {item.key: item.value for item in await walk(driver)}
        assert listed == items, f"scan() differs from get() at {sorted(listed.keys() ^ items.keys())[:5]}"

    async def test_deleting_one_awkward_key_leaves_the_others(self, driver: Driver) -> None:
        left = set(KEYS)
        await _fill(driver, KEYS)
        for at in Random(1).sample(KEYS, len(KEYS))[::3]:
            await driver.apply([Delete(at)])
            left.discard(at)
        listed = {item.key for item in await walk(driver, values=False)}
        assert listed == left, f"deleting took or left the wrong keys: {sorted(listed ^ left)[:5]}"

    @requires(text_order=True)
    @pytest.mark.parametrize("reverse", [False, True])
    async def test_the_order_is_by_segments_then_by_bytes(self, driver: Driver, reverse: bool) -> None:
        await _fill(driver, KEYS)
        wanted = in_order(KEYS)
        for limit in (1000, 7):
            got = [item.key for item in await walk(driver, reverse=reverse, limit=limit, values=False)]
            assert got == (wanted[::-1] if reverse else wanted), f"out of order: {_first_difference(got, wanted)}"

    async def test_every_listing_has_one_order(self, driver: Driver) -> None:
        """Whatever the order of text, all pages follow it, in both directions; names and numbers have theirs."""
        await _fill(driver, KEYS)
        order = await _order(driver, KEYS)
        for limit in (1000, 7):
            for reverse in (False, True):
                got = [item.key for item in await walk(driver, reverse=reverse, limit=limit, values=False)]
                assert got == (order[::-1] if reverse else order), f"another order: {_first_difference(got, order)}"
        ours = [at for at in order if "@" not in at]
        assert ours == in_order(ours), f"names and numbers out of order: {_first_difference(ours, in_order(ours))}"
        if not self.capabilities.text_order:
            assert order != in_order(KEYS), "text comes in its own order, and text_order=True is not declared"

    @requires(text_order=True)
    async def test_the_order_that_a_colon_cannot_give(self, driver: Driver) -> None:
        wanted = [key(KV, text(value), number(1)) for value in ("v1", "v1 x", "v1-b", "v10")]
        await _fill(driver, tuple(reversed(wanted)))
        assert [item.key for item in await walk(driver)] == wanted
        assert [item.key for item in await walk(driver, reverse=True)] == wanted[::-1]

    @pytest.mark.parametrize("reverse", [False, True])
    async def test_every_bound_of_every_awkward_key(self, driver: Driver, reverse: bool) -> None:
        """Each key once as `after` and once as `before`, in both directions: bounds are exclusive."""
        await _fill(driver, KEYS)
        wanted = await _order(driver, KEYS)
        for place, bound in enumerate(wanted):
            page = await driver.scan(Range("", after=bound, reverse=reverse, limit=1000, values=False))
            rest = wanted[place + 1 :]
            assert [item.key for item in page.items] == (rest[::-1] if reverse else rest), f"after={bound!r}"
            page = await driver.scan(Range("", before=bound, reverse=reverse, limit=1000, values=False))
            rest = wanted[:place]
            assert [item.key for item in page.items] == (rest[::-1] if reverse else rest), f"before={bound!r}"

    @requires(text_order=True)
    async def test_bounds_that_no_item_has(self, driver: Driver) -> None:
        wanted = in_order([key(KV, text(value)) for value in TEXTS])
        there, absent = wanted[::2], wanted[1::2]
        await _fill(driver, tuple(there))
        for low in [None, *absent[::5]]:
            for high in [None, *absent[::7]]:
                rest = [at for at in there if (low is None or at > low) and (high is None or at < high)]
                for reverse in (False, True):
                    got = [
                        item.key for item in await walk(driver, KV, after=low, before=high, reverse=reverse, limit=1000)
                    ]
                    assert got == (rest[::-1] if reverse else rest), f"after={low!r} before={high!r} reverse={reverse}"

    async def test_every_awkward_key_as_a_base(self, driver: Driver) -> None:
        """Below a base are its descendants: not the base itself, nor a sibling whose name starts the same."""
        bases = [at for at in KEYS if len(at.encode()) < MAX_KEY_BYTES - 40]
        children = [key(base, name("child")) for base in bases]
        await _fill(driver, tuple(dict.fromkeys([*KEYS, *children])))
        everything = await _order(driver, [*KEYS, *children])
        for base in bases:
            wanted = [at for at in everything if at.startswith(base + "!")]
            for reverse in (False, True):
                page = await driver.scan(Range(base, limit=1000, reverse=reverse, values=False))
                got = [item.key for item in page.items]
                assert got == (wanted[::-1] if reverse else wanted), f"below {base!r}: {_first_difference(got, wanted)}"

    async def test_siblings_that_begin_alike(self, driver: Driver) -> None:
        names = [text(value) for value in ("a", "ab", "a b", "a!b", "a-b", "a%", "a_", "a*", "A", "")]
        keys = [key(KV, parent, text("x")) for parent in names] + [key(KV, parent) for parent in names]
        await _fill(driver, tuple(keys))
        for parent in names:
            got = [item.key for item in await walk(driver, key(KV, parent))]
            assert got == [key(KV, parent, text("x"))], f"below {parent!r}: {got}"
        assert await driver.clear(key(KV, text("a"))) == 1
        assert len(await walk(driver)) == len(keys) - 1

    async def test_letters_are_not_folded(self, driver: Driver) -> None:
        pairs = [
            "a",
            "A",
            "é",
            "e\u0301",
            "ß",
            "ss",
            "SS",
            "I",
            "i",
            "\u0131",
            "İ",
            "Å",
            "å",
            "\u212b",
            "a ",
            "a",
            "a\x00",
            "ﬁ",
            "fi",
            "Ω",
            "\u2126",
        ]
        keys = list(dict.fromkeys(key(KV, text(value)) for value in pairs))
        for at in keys:
            await driver.apply([Put(at, at)])
        assert len(await walk(driver)) == len(keys), "two keys that differ were taken for one"
        for at in keys:
            await driver.apply([Check(at)])

    async def test_long_keys(self, driver: Driver) -> None:
        base = [text("x" * 160)] * 6
        longest = key(*base, text("y" * (MAX_KEY_BYTES - 6 * 162 - 1)))
        twin = longest[:-1] + "z"
        assert len(longest.encode()) == MAX_KEY_BYTES
        await driver.apply([Put(longest, "longest")])
        assert [item and item.value for item in await driver.get([longest, twin])] == ["longest", None]
        await driver.apply([Put(twin, "twin")])
        assert {item.key: item.value for item in await walk(driver)} == {longest: "longest", twin: "twin"}
        wide = key(*[text("😀" * 40)] * 6, text("é" * 17))
        await driver.apply([Put(wide, "wide")])
        assert [item.key for item in await walk(driver, key(text("😀" * 40)))] == [wide]

    @pytest.mark.parametrize("wrong", _NOT_ENCODED, ids=lambda wrong: ascii(wrong)[:24])
    async def test_what_is_no_encoded_key_is_refused(self, driver: Driver, wrong: Any) -> None:
        good = key(KV, text("a"))
        with pytest.raises(InvalidKeyError):
            await driver.get([good, wrong])
        with pytest.raises(InvalidKeyError):
            await driver.apply([Put(wrong, "x")])
        with pytest.raises(InvalidKeyError):
            await driver.apply([Delete(wrong)])
        outcomes = await driver.commit([[Check(wrong)], [Put(good, "x")]])
        assert isinstance(outcomes[0], InvalidKeyError)
        assert outcomes[1] is None
        if wrong:  # as a base, "" means everything; as a bound, None means none
            with pytest.raises(InvalidKeyError):
                await driver.scan(Range(wrong))
            with pytest.raises(InvalidKeyError):
                await driver.scan(Range("", after=wrong))
            with pytest.raises(InvalidKeyError):
                await driver.scan(Range("", before=wrong))
        assert [item.key for item in await walk(driver)] == [good]

    async def test_a_single_key_is_not_a_sequence(self, driver: Driver) -> None:
        with pytest.raises(InvalidKeyError):
            await driver.get("kv")

    def test_random_texts_sort_and_come_back(self) -> None:
        """Hypothesis: whatever users call things, they are distinct and in order."""

        async def example(driver: Driver, values: list[str]) -> None:
            await driver.clear("")
            keys = list(dict.fromkeys(key(KV, *map(text, value.split("/", 2))) for value in values))
            await _fill(driver, tuple(keys))
            got = [(item.key, item.value) for item in await walk(driver, KV, limit=5)]
            assert got == [(at, f"value of {at}") for at in await _order(driver, keys)]

        texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=12)
        with self.by_hand() as (driver, run):

            @self.examples(40)
            @given(texts)
            def examples(values: list[str]) -> None:
                run(example(driver, values))

            examples()


async def _fill(driver: Driver, keys: tuple[Key, ...]) -> None:
    outcomes = await driver.commit([[Put(at, f"value of {at}")] for at in keys])
    assert outcomes == [None] * len(keys), f"a put of an awkward key was refused: {outcomes}"


async def _order(driver: Driver, keys: Sequence[Key]) -> list[Key]:
    """Return everything in the database, in key order, or, without `text_order`, in the order in which it is listed."""
    wanted = in_order(list(dict.fromkeys(keys)))
    if driver.capabilities.text_order:
        return wanted
    listed = [item.key for item in await walk(driver, limit=1000, values=False)]
    assert in_order(listed) == wanted, "what is listed is not what was written"
    return listed


def _first_difference(got: list[Key], wanted: list[Key]) -> str:
    if sorted(got) != sorted(wanted):
        return f"missing {sorted(set(wanted) - set(got))[:3]}, too many {sorted(set(got) - set(wanted))[:3]}"
    for mine, right in zip(got, wanted, strict=True):
        if mine != right:
            return f"{mine!r} stands where {right!r} belongs"
    return "nothing differs but the direction"
