"""The key encoding: order, round trip, limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limpet import InvalidKeyError
from limpet.driver import check_key, key, name, number, split, text, text_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(TEXT)
def test_text_comes_back(value: str) -> None:
    encoded = text(value)
    check_key(encoded)
    assert "!" not in encoded
    assert text_of(encoded) in (value, None)
    assert (text_of(encoded) is None) == ('"' in encoded)


@given(st.lists(TEXT, min_size=1, max_size=3), st.lists(TEXT, min_size=1, max_size=3))
def test_the_order_is_by_segments_and_then_by_utf8(a: list[str], b: list[str]) -> None:
    one, other = key(*map(text, a)), key(*map(text, b))
    if '"' in one or '"' in other:
        return
    assert (one < other) == ([part.encode() for part in a] < [part.encode() for part in b])
    assert (one.encode() < other.encode()) == (one < other)


def test_the_order_that_a_separator_above_digits_gets_wrong() -> None:
    values = ["v1", "v1 x", "v1!x", "v1#x", "v1-b", "v10"]
    keys = [key(name("kv"), text(value), text("z")) for value in values]
    assert keys == sorted(keys)


@given(st.integers(0, 10**16 - 1), st.integers(0, 10**16 - 1))
def test_numbers_sort_as_numbers(a: int, b: int) -> None:
    assert (number(a) < number(b)) == (a < b)


def test_long_text_is_cut_between_characters_and_told_apart() -> None:
    encoded = {text("é" * 150 + tail) for tail in ("", "a", "b")}
    assert len(encoded) == 3
    for each in encoded:
        check_key(each)
        prefix = each[1:].split('"')[0]
        assert prefix == "é" * 80
    assert len(text("a" * 200)) == 201
    assert '"' in text("a" * 201)
    assert text("!" * 66).count("#21") == 66
    assert '"' in text("!" * 67)


@pytest.mark.parametrize("bad", ["", "A", "9", "a b", "Käse", "a!b"])
def test_names_are_words_of_ours(bad: str) -> None:
    with pytest.raises(InvalidKeyError):
        name(bad)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "!",
        "a!",
        "!a",
        "a!!b",
        "users",
        "@a b",
        "@#24",
        "@#2",
        "@#0A",
        "@a\ud800",
        "123",
        '@a"short',
        "A!b",
        5,
        None,
        b"a",
    ],
)
def test_only_encoded_keys_pass(bad: object) -> None:
    if bad == "users":
        check_key(bad)
        return
    with pytest.raises(InvalidKeyError):
        check_key(bad)


def test_limits() -> None:
    with pytest.raises(InvalidKeyError, match="1024"):
        key(*(text("x" * 150) for _ in range(7)))
    with pytest.raises(InvalidKeyError):
        key()
    with pytest.raises(InvalidKeyError):
        number(10**16)
    with pytest.raises(InvalidKeyError):
        number(-1)
    with pytest.raises(InvalidKeyError, match="surrogate"):
        text("\ud800")
    with pytest.raises(InvalidKeyError):
        text_of("name")
    assert split(key(name("a"), text("b!"), number(1))) == ("a", "@b#21", "0000000000000001")
