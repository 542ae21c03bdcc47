"""Text from a database on a terminal or in a log: what could move the cursor, or read backwards, is written as an escape."""

from __future__ import annotations

import logging
import re
import unicodedata

__all__ = ["printable", "printable_json"]

_UNSHOWN = re.compile(r"[^\x20-\x7e]")
_IN_JSON = re.compile(r"[^\n\x20-\x7e]")
_KINDS = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def printable(text: str) -> str:
    r"""The text on one line, with control characters, marks of direction and the like as `\x1b` or `\u202e`."""
    return _UNSHOWN.sub(lambda found: _escaped(found[0], short=True), text)


def printable_json(text: str) -> str:
    r"""The same JSON, in which a terminal finds nothing to obey: `\u009b`."""
    return _IN_JSON.sub(lambda found: _escaped(found[0], short=False), text)


def _escaped(character: str, *, short: bool) -> str:
    if unicodedata.category(character) not in _KINDS:
        return character
    if short:
        return character.encode("unicode_escape").decode()
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


class _Printable(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = printable(record.getMessage()), ()
        return True


logging.getLogger("limpet").addFilter(_Printable())  # every module of ours logs with that one
