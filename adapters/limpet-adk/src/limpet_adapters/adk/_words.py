"""The words by which a text is found."""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby

__all__ = ["words_of"]

_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
"""Scripts that put no space between words."""


def words_of(text: str) -> set[str]:
    """The words of a text in lower case. Where words are not spaced, each pair of characters counts as one."""
    words: set[str] = set()
    for run in re.findall(r"\w+", unicodedata.normalize("NFC", text).lower()):
        if run.isascii():
            words.add(run)
            continue
        for unspaced, group in groupby(run, _is_unspaced):
            part = "".join(group)
            if not unspaced or len(part) == 1:
                words.add(part)
            else:
                words.update(part[at : at + 2] for at in range(len(part) - 1))
    return words


def _is_unspaced(character: str) -> bool:
    return not character.isascii() and unicodedata.name(character, "").startswith(_UNSPACED)
