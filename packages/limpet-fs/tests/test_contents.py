"""What stands in a file, and back to the exact value."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limpet.driver import Etag
from limpet_drivers.fs._contents import digest_of, edited_etag, shown, understood
from pydantic_core import to_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.binary() | JSON.map(json.dumps))
def test_every_value_comes_back_exactly(value: str | bytes) -> None:
    kind, content = shown(value)
    assert understood(kind, content, digest_of(value)) == (value, True)


@given(JSON)
def test_the_json_of_our_records_is_laid_out(parsed: object) -> None:
    value = to_json(parsed).decode()
    kind, content = shown(value)
    assert kind == "json"
    assert json.loads(content) == parsed
    assert content.endswith(b"\n")
    assert understood(kind, json.dumps(json.loads(content), indent=7).encode(), None)[1] is False


@pytest.mark.parametrize(
    ("value", "kind", "content"),
    [
        ('{"a":1,"b":[1,2]}', "json", b'{\n  "a": 1,\n  "b": [\n    1,\n    2\n  ]\n}\n'),
        ("5", "json", b"5\n"),
        ('{"a": 1}', "txt", b'{"a": 1}'),
        ('{"a":1,"a":2}', "txt", b'{"a":1,"a":2}'),
        ("1E5", "txt", b"1E5"),
        ("NaN", "txt", b"NaN"),
        ("", "txt", b""),
        ("two\r\nlines", "txt", b"two\r\nlines"),
        (b'{"a":1}', "bin", b'{"a":1}'),
    ],
)
def test_kinds(value: str | bytes, kind: str, content: bytes) -> None:
    assert shown(value) == (kind, content)


def test_large_json_stays_on_one_line() -> None:
    value = '{"a":"' + "x" * 1024 * 1024 + '"}'
    kind, content = shown(value)
    assert (kind, content) == ("json", value.encode() + b"\n")
    assert understood(kind, content, digest_of(value)) == (value, True)


@pytest.mark.parametrize(
    "laid_out", ['{"a":1,"b":"x y"}', '\ufeff{\r\n\t"a" : 1,\r\n"b":"x y"}\r\n', '{ "a":1 , "b":"x y" }']
)
def test_a_person_may_lay_json_out_as_they_like(laid_out: str) -> None:
    value = '{"a":1,"b":"x y"}'
    assert understood("json", laid_out.encode(), digest_of(value)) == (value, True)


@pytest.mark.parametrize("written", ["1.50", '"\\u00e9"', "[1E5]", '{"a":1,"a":2}'])
def test_what_a_person_writes_keeps_its_spelling(written: str) -> None:
    value, as_recorded = understood("json", written.encode(), "another")
    assert (value, as_recorded) == (written, False)


def test_broken_json_is_served_as_it_stands() -> None:
    assert understood("json", b'{"a": ', digest_of("{}")) == ('{"a": ', False)


def test_what_is_not_utf8_is_served_as_bytes() -> None:
    assert understood("json", b"\xff{}", None) == (b"\xff{}", False)
    assert understood("txt", b"\xff", None) == (b"\xff", False)


def test_text_is_never_bytes() -> None:
    assert digest_of("a") != digest_of(b"a")


def test_the_etag_of_an_edit() -> None:
    etags = [
        edited_etag("k", None, "d"),
        edited_etag("k", Etag("e"), "d"),
        edited_etag("k", Etag("e"), "d2"),
        edited_etag("k2", Etag("e"), "d"),
    ]
    assert len(set(etags)) == 4
    assert etags[0] == edited_etag("k", None, "d")
    assert all(len(etag) == 22 for etag in etags)
