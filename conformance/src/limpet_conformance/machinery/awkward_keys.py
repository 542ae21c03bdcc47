"""Text and keys that some backend has sorted, matched, folded or truncated wrongly."""

from __future__ import annotations

from limpet.driver import Key, key, name, number, text

__all__ = ["KEYS", "TEXTS", "in_order"]

TEXTS: tuple[str, ...] = (
    "",
    "v1", "v1 x", "v1-b", "v10", "v1.", "v1/", "v1:", "v1_", "v1~", "v2", "V1", "V10",
    "!", "#", '"', "$", "##", "#21", "!!", "a!b", "a#b", 'a"b', "a b", "a", "a ", " a", "a  ", "ab", "a%", "a_", "ab%",
    "\x00", "\x01", "a\x00", "a\x00b", "\t", "\n", "\r\n", "\x1f", "\x7f", "\x80", "\x85",
    "*", "?", "[", "]", "[a-z]", "a*", "a?", "{a}", "%", "_", "%s", "%%", "'", "''", "\\", "\\\\", "\\n", "`", ";", "--",
    "/", "//", "../x", ".", "..", "a/b", "a\\b", "C:", "nul", "NUL", "con.txt", "a.", "a.json", "~", "~a",
    "A", "B", "b", "Z", "z", "I", "i", "\u0131", "İ", "ß", "ss", "SS", "ẞ", "é", "e\u0301", "É", "ä", "ae", "å", "Å",
    "ﬁ", "fi", "ö", "Ω", "\u2126", "ω", "ς", "\u03c3", "Σ", "я", "中文", "日本語", "한국어", "한", "عربي", "\u200b", "\u200d",
    "\ufeff", "\ufffd", "\uffff", "\ue000", "\ud7ff", "\u2028", "😀", "😀😀", "👩‍👩‍👧‍👦", "🇨🇭", "\U0010ffff", "\U00010000",
    "0", "00", "1", "10", "9", "-1", "1e3", "null", "true", "None", "NaN", "undefined", "$set", "$where", "a.b", "__proto__",
    "x" * 200, "x" * 201, "x" * 5000, "x" * 4999 + "y", "é" * 100, "é" * 101, "😀" * 300, "!" * 66, "!" * 67, " " * 500,
    "x" * 159 + "😀" * 40, "x" * 160 + "😀" * 40,
)  # fmt: skip
"""Each occurs once; `in_order` says how they sort."""


def _keys() -> tuple[Key, ...]:
    kinds = [key(name("kv"), name("users"), text(value)) for value in TEXTS]
    kinds += [key(name("n"), number(value)) for value in (0, 1, 9, 10, 99, 10**15, 10**16 - 1)]
    kinds += [key(name(word)) for word in ("a", "a-b", "a.b", "a_b", "a0", "ab", "b", "users", "users-old", "users2")]
    kinds += [key(name(word), text("x")) for word in ("a", "a-b", "a.b", "a_b", "a0", "ab", "users", "users-old")]
    kinds += [key(text(value), text("x")) for value in ("a", "a!b", "a b", "a-b", "a0", "A", "é", "😀")]
    kinds += [key(text("a"), text("b")), key(text("a"), text("b"), text("c")), key(text("a"), name("b"))]
    kinds += [key(*[text("deep")] * depth) for depth in (2, 5, 50)]
    kinds += [key(name("k"), *[text("x" * 160)] * 6, text("y" * (1024 - 2 - 6 * 162 - 1)))]
    return tuple(dict.fromkeys(kinds))


KEYS: tuple[Key, ...] = _keys()
"""Whole keys of every kind. The longest has exactly 1,024 bytes."""


def in_order(keys: tuple[Key, ...] | list[Key]) -> list[Key]:
    """Return keys sorted by segments and then by UTF-8 bytes, the slow way: by comparing lists of byte strings."""
    return sorted(keys, key=lambda whole: [segment.encode() for segment in whole.split("!")])
