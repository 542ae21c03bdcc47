"""Where items stand: readable, reversible, and apart on any file system."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limpet.driver import Key, check_key, key, name, number, text
from limpet_drivers.fs._layout import KINDS, could_be_folder, folder_of, key_at, place_of

NAMES = st.from_regex(r"[a-z][a-z0-9_.-]{0,30}", fullmatch=True) | st.sampled_from(
    ["con", "nul.x", "com1", "a.json", "e.", "x.txt", "n" * 300, "n." * 130, "con.bin"]
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    [
        "",
        ".",
        "..",
        "~",
        "~e",
        "con",
        "CON",
        "Aux.txt",
        "a.json",
        "a.JSON",
        "0" * 16,
        "a ",
        " a",
        "a.",
        "é",
        "e\u0301",
        "😀" * 300,
        "x" * 5000,
        "a/b\\c",
        ':*?"<>|',
        "img_1",
        "^a",
        "%41",
        "=x",
        "a,",
        ",",
        "+",
        "A",
        "a",
        "İ",
        "ß",
        "ﬁ",
    ]
)
NUMBERS = st.integers(0, 10**16 - 1)
SEGMENTS = NAMES.map(name) | TEXTS.map(text) | NUMBERS.map(number)
KEYS = st.lists(SEGMENTS, min_size=1, max_size=5).filter(lambda parts: len("!".join(parts).encode()) <= 1024)


@pytest.mark.parametrize(
    ("made", "path"),
    [
        (key(name("images"), text("img_1")), "images/img_1"),
        (key(name("kv"), text("foo"), text("bar")), "kv/foo/bar"),
        (key(name("kv"), text("foo.json")), "kv/foo%2ejson"),
        (key(name("log"), text("s1"), name("e"), number(7)), "log/s1/~e/0000000000000007"),
        (key(name("kv"), text("0000000000000007")), "kv/%30000000000000007"),
        (key(name("kv"), text("My Assistant")), "kv/^my+^assistant"),
        (key(name("kv"), text("..")), "kv/%2e%2e"),
        (key(name("kv"), text(".hidden")), "kv/%2ehidden"),
        (key(name("kv"), text("con")), "kv/%63on"),
        (key(name("kv"), text("~e")), "kv/%7ee"),
        (key(name("kv"), text("é")), "kv/%c3%a9"),
        (key(name("kv"), text("")), "kv/%"),
        (key(text("alice@example.com")), "@alice@example.com"),
        (key(number(1)), "0000000000000001"),
    ],
)
def test_where_items_stand(made: Key, path: str) -> None:
    place = place_of(made)
    assert place.path == path
    assert key_at(place.folder, place.stem + ".json") == made


@given(st.lists(SEGMENTS, min_size=1, max_size=5).map("!".join).filter(lambda made: len(made.encode()) <= 1024))
def test_every_name_leads_back_to_its_key(made: Key) -> None:
    check_key(made)
    place = place_of(made)
    for kind in KINDS:
        assert key_at(place.folder, f"{place.stem}.{kind}") == made


@given(KEYS.map("!".join))
def test_names_are_safe_everywhere(made: Key) -> None:
    path = place_of(made).path
    assert path.isascii()
    assert path == path.casefold()
    assert path == unicodedata.normalize("NFC", path) == unicodedata.normalize("NFD", path)
    for part in path.split("/"):
        assert 0 < len(part) <= 140
        assert not part.startswith(".")
        assert not part.endswith((".", " "))
        assert part.partition(".")[0] not in {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(10))}
        assert not set(part) & set('<>:"/\\|?*\0\n ')
        assert could_be_folder(part)


@given(KEYS.map("!".join), KEYS.map("!".join))
def test_folders_never_have_the_name_of_a_file(one: Key, other: Key) -> None:
    files = {f"{place_of(one).path}.{kind}" for kind in KINDS}
    folders = folder_of(other).split("/")
    assert not files & {"/".join(folders[: depth + 1]) for depth in range(len(folders))}


@given(st.lists(KEYS.map("!".join), min_size=2, max_size=8, unique=True))
def test_no_two_keys_meet_where_case_and_accents_are_folded(keys: list[Key]) -> None:
    folded = {unicodedata.normalize("NFKD", place_of(made).path.casefold()) for made in keys}
    assert len(folded) == len(keys)


def test_capitals_and_accents_stay_apart() -> None:
    alike = [
        "a",
        "A",
        "e\u0301",
        "\u00e9",
        "É",
        "\ufb01",
        "fi",
        "K",
        "\u212a",
        "k",
        "\u03c2",
        "\u03c3",
        "\u03a3",
        "ß",
        "ss",
        "SS",
    ]
    assert len({place_of(key(name("kv"), text(one))).path.casefold() for one in alike}) == len(alike)


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("", "README.md"),
        ("", "README.txt"),
        ("images", "Img_1.json"),
        ("images", ".img_1.json.swp"),
        ("images", "img_1.json~"),
        ("images", "img_1 (copy).json"),
        ("images", "img_1.yaml"),
        ("images", ".json"),
        ("images", "%41.json"),
        ("images", "%c3.json"),
        ("images", "é.json"),
        ("images", "foo.json.json"),
        ("images", "a..json"),
        ("images", "con.json"),
        ("images", "a,.json"),
        ("images,", "a.json"),
        ("Images", "a.json"),
        (".git", "a.json"),
        ("images", "~.json"),
        ("images", "~A.json"),
        ("images", "a=b=c.json"),
    ],
)
def test_foreign_names_are_no_keys(folder: str, file: str) -> None:
    assert key_at(folder, file) is None


@given(
    st.lists(st.text(min_size=1, max_size=12).filter(lambda part: "/" not in part), max_size=3), st.text(max_size=20)
)
def test_whatever_is_a_key_would_be_written_so(folders: list[str], stem: str) -> None:
    found = key_at("/".join(folders), f"{stem}.json")
    if found is not None:
        check_key(found)
        assert place_of(found) == ("/".join(folders), stem)
