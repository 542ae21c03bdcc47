"""Clause 5, values: text and bytes come back exactly as they were put, whatever they look like."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limpet import InvalidValueError
from limpet.driver import Driver, If, Put, Range, Value, key, name, number

from .._suite import Pair, Section
from ..machinery.awkward_keys import TEXTS
from ..machinery.outcomes import carried, refused
from ..machinery.reading import one, walk

__all__ = ["Values"]

A = key(name("values"), name("a"))
MIB = 1024 * 1024

_JSON_LIKE = (
    '{"a": 1}', '{"a":1}', ' {"a":1}', '{"a":1}\n', '{"a":1,"a":2}', '{"b":1,"a":2}', '{"a":1.0}', '{"a":1e2}', '{"a":100000000000000000000000}',
    '{"a":0.1}', '{"a":-0.0}', '{"a":NaN}', "NaN", "Infinity", '{"a":"\\u00e9"}', '{"a":"é"}', '{"a":"\\/"}', '{"a":"\\ud83d\\ude00"}', '{"a":"\\ud800"}',
    "[1,2,3]", "[1, 2, 3]", "[]", "{}", '""', "null", "true", "123", "1.0", "-0", "1e400", '"text"', "'text'", '{"$oid":"x"}', '{"$date":1}', "[" * 2000 + "]" * 2000,
    '{"a":1}{"a":2}', '{"a":1', "{'a':1}", '{"\\u0000":1}', '{"a":"\\u0000"}', json.dumps({"deep": {"er": [1, {"x": None}]}}, indent=2),
)  # fmt: skip
VALUES: tuple[Value, ...] = (
    *TEXTS,
    *_JSON_LIKE,
    *(value.encode() for value in _JSON_LIKE),
    *(value.encode() for value in TEXTS[:40]),
    "\x00" * 50, "a\x00b\x00", "\n", "\r", "\r\n", "a\r\nb\n", "\n\n", " \t ", "trailing ", "trailing\n", "\ufefftext", "a\ufeff", "\u2028\u2029", "\x1a", "\x1b[31m",
    "😀" * 1000, "e\u0301", "é", "\U0010ffff", "\ufffe", "t", "b", "text", "b'text'", "0x00", "AAAA", "dGV4dA==", "\\x74657874",
    b"", b"\x00", bytes(range(256)), bytes(range(256))[::-1], b"\xff\xfe", b"\xef\xbb\xbftext", b"\xed\xa0\x80", b"\x80", b"\xc3", b"\xc3\xa9", b"\r\n", b"\x1a",
    b"t", b"b", b"text", b"\xf0\x9f\x98\x80", b"\x1f\x8b\x08", b"(lp0\n.", b"\x80\x04.",
)  # fmt: skip

_NO_VALUES: dict[str, Any] = {
    "high surrogate": "\ud83d", "low surrogate": "a\udfffb", "None": None, "int": 7, "float": 1.5, "list": [], "dict": {},
    "bytearray": bytearray(b"x"), "memoryview": memoryview(b"x"), "object": object(),
}  # fmt: skip


class Values(Section):
    """What is stored is what is read."""

    async def test_every_awkward_value_comes_back(self, pair: Pair) -> None:
        writer, reader = pair
        keys = [key(name("values"), number(at)) for at in range(len(VALUES))]
        outcomes = await writer.commit([[Put(at, value)] for at, value in zip(keys, VALUES, strict=True)])
        assert outcomes == [None] * len(keys), "an awkward value was refused"
        got: list[Any] = []
        for start in range(0, len(keys), 100):
            got += await reader.get(keys[start : start + 100])
        for value, item in zip(VALUES, got, strict=True):
            assert item is not None
            _same(value, item.value, "get")
        for value, item in zip(VALUES, await walk(reader), strict=True):
            _same(value, item.value, "scan")

    async def test_one_put_and_a_batch_store_alike(self, driver: Driver) -> None:
        for value in VALUES[::9]:
            await driver.apply([Put(A, value)])
            item = await one(driver, A)
            assert item is not None
            _same(value, item.value, "get after a lone put")

    async def test_text_never_comes_back_as_bytes(self, driver: Driver) -> None:
        for first, second in (("same", b"same"), (b"same", "same"), ("", b""), (b"", ""), ("\x00", b"\x00")):
            for value in (first, second):
                await driver.apply([Put(A, value)])
                item = await one(driver, A)
                assert item is not None
                _same(value, item.value, "get")
                (listed,) = await walk(driver)
                _same(value, listed.value, "scan")

    async def test_a_conflict_carries_the_exact_value(self, driver: Driver) -> None:
        for value in ("text", b"text", "", b"", "\x00", bytes(range(256)), '{"a": 1}'):
            await driver.apply([Put(A, value)])
            conflict = await refused(driver, [Put(A, "x", If.ABSENT)])
            item = carried(conflict, A)
            _same(value, item.value, "the conflict")

    @pytest.mark.parametrize("kind", ["ascii", "emoji", "bytes", "random"])
    async def test_four_mebibytes(self, driver: Driver, kind: str) -> None:
        large: dict[str, Value] = {
            "ascii": "x" * (4 * MIB),
            "emoji": "😀" * MIB,
            "bytes": bytes(range(256)) * (16 * 1024),
            "random": Random(1).randbytes(4 * MIB),
        }
        value = large[kind]
        await driver.apply([Put(A, value)])
        item = await one(driver, A)
        assert item is not None
        assert type(item.value) is type(value)
        assert item.value == value
        page = await driver.scan(Range(""))
        assert [listed.value == value for listed in page.items] == [True]

    async def test_a_value_replaces_the_one_before_whole(self, driver: Driver) -> None:
        for value in ("a much longer value than the next one" * 100, "short", "", "long again " * 1000, b"\x00", "é"):
            await driver.apply([Put(A, value)])
            item = await one(driver, A)
            assert item is not None
            _same(value, item.value, "get")

    @pytest.mark.parametrize("wrong", _NO_VALUES.values(), ids=_NO_VALUES)
    async def test_what_is_no_value_is_refused(self, driver: Driver, wrong: Any) -> None:
        with pytest.raises(InvalidValueError):
            await driver.apply([Put(A, wrong)])
        assert await one(driver, A) is None

    async def test_values_are_left_out_on_request(self, driver: Driver) -> None:
        put = Put(A, "x" * 1000, ttl_ms=3_600_000)
        await driver.apply([put])
        (item,) = await driver.get([A], values=False)
        assert item is not None
        assert (item.key, item.etag) == (A, put.etag)
        assert item.value is None or item.value == put.value
        (listed,) = (await driver.scan(Range("", values=False))).items
        assert (listed.key, listed.etag) == (A, put.etag)
        assert listed.ttl_ms is not None
        assert listed.value is None or listed.value == put.value

    def test_random_values_come_back(self) -> None:
        """Hypothesis: any text, any bytes."""

        async def example(driver: Driver, values: list[Value]) -> None:
            keys = [key(name("values"), number(at)) for at in range(len(values))]
            assert set(await driver.commit([[Put(at, value)] for at, value in zip(keys, values, strict=True)])) <= {
                None
            }
            for value, item in zip(values, await driver.get(keys), strict=True):
                assert item is not None
                _same(value, item.value, "get")

        texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
        with self.by_hand() as (driver, run):

            @self.examples(40)
            @given(st.lists(texts | st.binary(max_size=60), min_size=1, max_size=8))
            def examples(values: list[Value]) -> None:
                run(example(driver, values))

            examples()


def _same(put: Value, got: Value | None, where: str) -> None:
    shown = repr(put[:60])
    assert type(got) is type(put), f"{where} gave {type(got).__name__} for the {type(put).__name__} {shown}"
    assert got == put, f"{where} gave {got[:60] if got is not None else None!r} for {shown}"
