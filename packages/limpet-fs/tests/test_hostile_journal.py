"""A folder that somebody else made: whatever its journal and its index say, nothing outside of it is touched.

A checksum keeps nobody from writing a frame, so what is in one is not trusted: every error is ours, nothing hangs, and
no length that a frame claims is believed.
"""

import struct
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limpet._errors import CorruptDataError
from limpet.driver import Etag
from limpet_conformance.machinery.outside import THINGS, Outside, beside, put_in_place
from limpet_drivers.fs._frames import BLOCK, MARK_AT, Change, Entry, Header, frame
from pydantic_core import to_json

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")

Use: TypeAlias = Callable[[Path, bool], Callable[[], Awaitable[object]]]

KEYS = ["kv!@a", "kv!@b", "kv!@deep!@c", "kv!@new", "storage!@b", "zz"]
PLACES = [
    "kv",
    "kv/a.json",
    "kv/new.json",
    ".limpet",
    ".limpet/new",
    ".limpet/new/0",
    ".limpet/journal",
    ".limpet/lock",
]
ETAG = Etag("e" * 22)


def header(base: Path) -> Header:
    return Header.of(content(base / ".limpet" / "journal")[:BLOCK])


def content(path: Path) -> bytes:
    """Of a plain file: what an earlier change left may be a pipe, or a link to what is outside."""
    if path.is_symlink() or path.parent.is_symlink() or not path.is_file():
        raise FileNotFoundError(path)
    return path.read_bytes()


def entry(kind: str, etag: str = ETAG) -> Entry:
    return Entry(kind, Etag(etag), 1, None, "d")


def raw_frame(head: bytes, contents: bytes = b"", length: int | None = None) -> bytes:
    """A frame whose checksum is right, whatever is in it."""
    rest = struct.pack("<I", len(head)) + head + contents
    return struct.pack("<II", len(rest) if length is None else length, crc32(rest)) + rest


def append(base: Path, raw: bytes) -> None:
    with (base / ".limpet" / "journal").open("ab") as journal:
        journal.write(raw)


def with_header(base: Path, row: list[object], done: int = BLOCK) -> None:
    """Another first block, whose checksum is right."""
    journal = base / ".limpet" / "journal"
    block = raw_frame(to_json(row)).ljust(MARK_AT, b" ")[:MARK_AT]
    note = struct.pack("<QI", done, crc32(done.to_bytes(8, "little"))).ljust(BLOCK - MARK_AT, b"\0")
    journal.write_bytes(block + note + content(journal)[BLOCK:])


# Names in the journal and in the index.

EVIL_KEYS = [
    "kv/../../outside/evil",
    "kv!kv/../../../outside/evil",
    "../outside/victim",
    "..",
    "",
    "!",
    "kv!",
    ".limpet!@journal",
    "kv!@a\0b",
    "~",
    "KV!@a",
    "a" * 2000,
    "kv!" + "@x!" * 400 + "@y",
    "/etc/passwd",
]
LIKE_PATHS = ["kv!@..!@..!@outside!@victim", "@..", "kv!@a/../../../outside/victim", "kv!@/etc/passwd", "kv!@.limpet"]
EVIL_KINDS = ["k/../../../outside/victim.json", "../x", "json/../../../outside/victim", "", "JSON", "exe", "json\0"]


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("key", EVIL_KEYS)
@pytest.mark.parametrize("deletes", [False, True])
def test_keys_in_the_journal(use: Use, pattern: Path, key: str, deletes: bool, wrapped: bool) -> None:
    with beside(pattern) as (base, outside):
        append(base, frame(2**62, [Change(key, None if deletes else entry("json"), b"" if deletes else b"evil")]))
        error = outside.attacked(use(base, wrapped))
        assert isinstance(error, CorruptDataError)


@pytest.mark.parametrize("key", LIKE_PATHS)
@pytest.mark.parametrize("deletes", [False, True])
def test_text_that_only_looks_like_a_path(use: Use, pattern: Path, key: str, deletes: bool) -> None:
    """It is written escaped, and stays inside."""
    with beside(pattern) as (base, outside):
        append(base, frame(2**62, [Change(key, None if deletes else entry("json"), b"" if deletes else b"evil")]))
        assert outside.attacked(use(base, False)) is None


@pytest.mark.parametrize("kind", EVIL_KINDS)
@pytest.mark.parametrize("where", ["journal", "index"])
def test_kinds(use: Use, pattern: Path, kind: str, where: str) -> None:
    with beside(pattern) as (base, outside):
        (base / "zz.k").mkdir()
        (base / "storage" / "b.k").mkdir(parents=True)
        raw = frame(0, [Change("zz", entry(kind), b"evil"), Change("storage!@b", entry(kind))])
        if where == "journal":
            append(base, raw)
        else:
            found = header(base)
            (base / ".limpet" / found.index).write_bytes(raw)
            with_header(base, [1, found.generation, found.index, len(raw), found.synced])
        assert isinstance(outside.attacked(use(base, False)), CorruptDataError)


@pytest.mark.parametrize(
    "index",
    [
        "../../outside/victim.json",
        "/etc/passwd",
        "",
        ".",
        "..",
        "journal",
        "index-",
        "index-/../journal",
        "index-\0",
        7,
    ],
)
def test_names_of_the_index(use: Use, pattern: Path, index: object) -> None:
    with beside(pattern) as (base, outside):
        with_header(base, [1, "g" * 22, index, 0, True])
        assert isinstance(outside.attacked(use(base, False)), CorruptDataError)


@pytest.mark.parametrize(
    "row",
    [
        [], {}, None, 1, [1], [2], [0, "g", "index-x", 0, True], ["1", "g", "index-x", 0, True],
        [1, "g", "index-x", -1, True], [1, "g", "index-x", 2**70, True], [1, "g", "index-x", 2**40, True],
        [1, "g" * 200, "index-x", 0, True], [1, "g", "index-x", 0, 1], [1, "g", "index-x", 0.5, True],
        [1, ["g"], "index-x", 0, True], [True, "g", "index-x", 0, True],
    ],
)  # fmt: skip
def test_first_blocks(use: Use, pattern: Path, row: list[object]) -> None:
    with beside(pattern) as (base, outside):
        with_header(base, row)
        assert isinstance(outside.attacked(use(base, False)), CorruptDataError)


@pytest.mark.parametrize("done", [0, 1, 511, 513, 2**31, 2**62, 2**64 - 1])
@pytest.mark.parametrize("synced", [True, False])
def test_marks_beyond_the_journal(use: Use, pattern: Path, done: int, synced: bool) -> None:
    """The journal does not become a file of that length."""
    with beside(pattern) as (base, outside):
        found = header(base)
        with_header(base, [1, found.generation, found.index, found.index_bytes, synced], done)
        outside.attacked(use(base, False))
        assert (base / ".limpet" / "journal").stat().st_size < 10_000


ROW = ["kv!@a", "json", "e" * 22, 1, None, "d", 0]
EVIL_ROWS: list[object] = [
    [], {}, None, "kv!@a", ["kv!@a", "json"], [["kv!@a"]], [None], [1], ROW[:6], [*ROW, 1], [*ROW[:6], -1],
    [*ROW[:6], 2**40], [*ROW[:6], 1], [*ROW[:6], 0.5], [*ROW[:3], "1", None, "d", 0], [*ROW[:3], 2**80, None, "d", 0],
    [*ROW[:4], "x", "d", 0], [*ROW[:5], None, 0], [*ROW[:2], "e" * 70_000, 1, None, "d", 0], [*ROW[:2], "\0", 1, None, "d", 0],
    [*ROW[:2], 7, 1, None, "d", 0],
]  # fmt: skip


@pytest.mark.parametrize("row", EVIL_ROWS)
def test_changes(use: Use, pattern: Path, row: object) -> None:
    with beside(pattern) as (base, outside):
        append(base, raw_frame(to_json([1, [row]])))
        assert isinstance(outside.attacked(use(base, False)), CorruptDataError)


@pytest.mark.parametrize(
    "head",
    [b"", b"null", b"{}", b"[]", b"[1]", b"[1,2]", b'["x",[]]', b"[1,[]", b"\xff", b"[" * 100_000, b'{"a":' * 100_000,
     b"[1," + b"9" * 1_000_000 + b"]", b"[1,[" + b"[]," * 100_000 + b"[]]]", b"[1e999,[]]", b"[NaN,[]]"],
)  # fmt: skip
def test_heads(use: Use, pattern: Path, head: bytes) -> None:
    with beside(pattern) as (base, outside):
        append(base, raw_frame(head))
        assert isinstance(outside.attacked(use(base, False)), CorruptDataError)


@pytest.mark.parametrize(
    "before", [b"x", b"[]", b"[1]", b'[{"json":1}]', b'[{"json":[1]}]', b'[{"json":["x",1]}]', b"[[]]"]
)
def test_what_a_round_says_it_replaced(use: Use, pattern: Path, before: bytes) -> None:
    with beside(pattern) as (base, outside):
        append(base, raw_frame(to_json([1, [["kv!@a"]]]), before))
        assert isinstance(outside.attacked(use(base, False)), CorruptDataError)


# At random.

_POSITIONS = st.integers(0, 4000)


@st.composite
def mutations(draw: st.DrawFn) -> tuple[object, ...]:
    what = draw(st.sampled_from(["flip", "cut", "insert", "thing", "frame", "head", "header", "mark"]))
    where = draw(st.sampled_from(["journal", "index"]))
    if what == "thing":
        return what, draw(st.sampled_from(PLACES)), draw(st.sampled_from(THINGS[:-1]))
    if what == "frame":
        keys = st.sampled_from([*EVIL_KEYS, *LIKE_PATHS, *KEYS])
        kinds = st.sampled_from([*EVIL_KINDS, "json", "txt", "bin"])
        rows = st.lists(st.tuples(keys, kinds | st.none(), st.binary(max_size=20)), max_size=4)
        return what, where, draw(rows)
    if what == "head":
        leaves = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8) | st.sampled_from(KEYS)
        values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=8), max_leaves=20)
        return what, where, draw(values), draw(st.binary(max_size=30))
    if what == "header":
        fields = st.sampled_from([0, 1, -1, 2**62, "g" * 22, "index-x", "../x", True, None])
        return what, [1, *draw(st.lists(fields, min_size=4, max_size=4))]
    if what == "mark":
        return what, draw(st.integers(0, 2**64 - 1))
    return what, where, draw(_POSITIONS), draw(st.binary(min_size=1, max_size=12))


def mutate(base: Path, outside: Outside, mutation: tuple[object, ...]) -> None:
    match mutation:
        case ["thing", str() as place, thing]:
            put_in_place(base / place, thing, outside)  # type: ignore[arg-type]
            return
        case ["header", list() as row]:
            with_header(base, row)
            return
    journal = base / ".limpet" / "journal"
    match mutation:
        case ["mark", int() as done]:
            raw = content(journal)
            note = struct.pack("<QI", done, crc32(done.to_bytes(8, "little")))
            journal.write_bytes(raw[:MARK_AT] + note + raw[MARK_AT + len(note) :])
            return
    found = header(base)
    path = journal if mutation[1] == "journal" else base / ".limpet" / found.index
    raw = content(path)
    match mutation:
        case ["flip", _, int() as at, bytes() as with_]:
            at %= max(1, len(raw))
            raw = raw[:at] + bytes(a ^ b for a, b in zip(raw[at:], with_, strict=False)) + raw[at + len(with_) :]
        case ["cut", _, int() as at, _]:
            raw = raw[: at % max(1, len(raw))]
        case ["insert", _, int() as at, bytes() as with_]:
            raw = raw[: at % max(1, len(raw))] + with_ + raw[at % max(1, len(raw)) :]
        case ["frame", _, list() as rows]:
            changes = [
                Change(key, None if kind is None else entry(kind), b"" if kind is None else c) for key, kind, c in rows
            ]
            raw += frame(7, changes)
        case ["head", _, head, bytes() as contents]:
            raw += raw_frame(to_json([1, head]), contents)
    path.write_bytes(raw)
    if path != journal:
        with_header(base, [1, found.generation, found.index, len(raw), found.synced], journal.stat().st_size)


@settings(max_examples=300, deadline=None)
@given(changes=st.lists(mutations(), min_size=1, max_size=4), wrapped=st.booleans())
def test_a_folder_that_was_changed_at_random(
    use: Use, pattern: Path, changes: list[tuple[object, ...]], wrapped: bool
) -> None:
    with beside(pattern) as (base, outside):
        for change in changes:
            with suppress(OSError, CorruptDataError):  # an earlier change may leave nothing to change
                mutate(base, outside, change)
        if outside.watch is not None:
            outside.watch.seen()
        outside.attacked(use(base, wrapped))
