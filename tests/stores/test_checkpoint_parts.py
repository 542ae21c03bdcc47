"""Any value that a checkpoint may have comes back from its parts, and what is damaged is said to be so."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limpet import CorruptDataError
from limpet.driver import Value
from limpet.stores.checkpoints._parts import assemble, digest_of, needed, take_apart

characters = st.characters(codec="utf-8")
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(characters, max_size=20),
    st.integers(200, 600).map(lambda n: "[]," * n),
    st.binary(max_size=400),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=8), st.dictionaries(st.text(characters, max_size=8), inner, max_size=6)
    ),
    max_leaves=40,
)


class Parts:
    """Parts in a dict, each once."""

    def __init__(self) -> None:
        self.by_digest: dict[bytes, tuple[int, int]] = {}
        self.values: dict[tuple[int, int], Value] = {}

    def add(self, stream: str, value: Value) -> tuple[int, int]:
        ref = self.by_digest.setdefault(digest_of(value), (len(stream), len(self.by_digest)))
        self.values[ref] = value
        return ref


@settings(max_examples=300, deadline=None)
@given(value=values)
def test_what_is_taken_apart_is_put_together_again(value: Any) -> None:
    parts = Parts()
    node = json.loads(json.dumps(take_apart(value, parts, "it")))
    assert set(needed(node)) == set(parts.values)
    back = assemble(node, parts.values)
    assert repr(back) == repr(value), "the types and the order of keys, too"


def test_bytes_are_stored_as_they_are() -> None:
    parts, one, other = Parts(), b"\xff" * 5000, bytes(3000)
    value = {"blobs": [one, {"deep": [other, "and text"]}], "alone": one}
    assert assemble(take_apart(value, parts, "it"), parts.values) == value
    sizes = sorted(len(each) for each in parts.values.values())
    assert sum(sizes) < 8100, "without base64, and the same ones once"


@pytest.mark.parametrize(
    "node",
    [
        {"p": [1, 2]},
        {"l": [[1, 2, 3]], "t": []},
        {"l": [[1, 2, 2]], "t": []},
        {"l": [[1, -1, 3]], "t": []},
        {"l": [[1, 0, 10**12]], "t": []},
        {"l": [[1]], "t": []},
        {"l": 5},
        {"x": "!"},
        {"x": 5},
        {"d": {"a": {}}},
        {"d": {"a": 5}},
        {},
        [],
        None,
    ],
    ids=repr,
)
def test_a_damaged_node_is_an_error(node: Any) -> None:
    with pytest.raises(CorruptDataError):
        assemble(node, {})


@pytest.mark.parametrize(
    "part",
    ["", "[", "]", "[]", "{}", '{"a":1}', "5", b"", b"\2", b"\1", b"\1\0\0\0\2{}", b"\1\xff\xff\xff\xff"],
    ids=repr,
)
def test_a_damaged_part_is_an_error(part: Value) -> None:
    with pytest.raises(CorruptDataError):
        assemble({"l": [[1, 0, 1]], "t": []}, {(1, 0): part})


@pytest.mark.parametrize(
    "header",
    [
        {"b": [[[0], 5]], "v": [None]},
        {"b": [[[0], -1]], "v": [None]},
        {"b": [[[3], 1]], "v": [None]},
        {"b": [[["a"], 1]], "v": [None]},
        {"b": [[5, 1]], "v": [None]},
        {"b": 5, "v": 5},
        {"v": 5},
        [],
    ],
    ids=repr,
)
def test_a_damaged_header_is_an_error(header: Any) -> None:
    written = json.dumps(header).encode()
    with pytest.raises(CorruptDataError):
        assemble({"p": [1, 0]}, {(1, 0): b"\1" + len(written).to_bytes(4, "big") + written + b"x"})
