"""The content of a file: a value in readable form, and back to its exact characters.

JSON is written pretty (`.json`) where taking the blanks out again gives the exact text back, other text as it
is (`.txt`), bytes as they are (`.bin`). Whoever edits a `.json` file may lay it out as they like.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from hashlib import blake2b

from limpet.driver import Etag, Key, Value
from pydantic_core import from_json, to_json

__all__ = ["digest_of", "edited_etag", "shown", "understood"]

_PRETTY = 1024 * 1024
"""Larger JSON is written on one line: nobody reads it, and laying it out costs."""
_GROWTH = 4
"""And so is what would become longer than so many times its length: deep nesting is mostly blanks."""
_PARSED = _GROWTH * _PRETTY + 1
"""Nothing longer was laid out by us, and parsing what somebody else wrote may take twenty times the memory."""
_JSON_BEGINS = '{["-0123456789tfn'
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[^\s"]+')
_BOM = b"\xef\xbb\xbf"


def digest_of(value: Value) -> str:
    """Equal for equal values only; text never equals bytes."""
    text = isinstance(value, str)
    digest = blake2b(b"t" if text else b"b", digest_size=16)
    digest.update(value.encode() if isinstance(value, str) else value)
    return digest.hexdigest()


def edited_etag(key: Key, etag: Etag | None, digest: str) -> Etag:
    """The etag of what somebody else wrote into the file: the same for every process, another one for other content.

    `etag` is the one on record, so that an edit after a later write is told from the same edit before it.
    """
    seed = blake2b(f"{etag or ''}\0{key}\0{digest}".encode(), digest_size=16)
    return Etag(urlsafe_b64encode(seed.digest())[:22].decode())


def shown(value: Value) -> tuple[str, bytes]:
    """How a file of this value ends, and what stands in it."""
    if isinstance(value, bytes):
        return "bin", value
    raw = value.encode()
    if value[:1] in _JSON_BEGINS and value:
        try:
            parsed = from_json(raw, allow_inf_nan=False)
            if to_json(parsed) == raw:
                pretty = to_json(parsed, indent=2) if len(raw) <= _PRETTY else raw
                return "json", (pretty if len(pretty) <= _GROWTH * len(raw) + 64 else raw) + b"\n"
        except ValueError:
            return "txt", raw
    return "txt", raw


def understood(kind: str, content: bytes, digest: str | None) -> tuple[Value, bool]:
    """The value in a file, and whether it is the one on record (`digest`, `None` without a record).

    Nothing that a person may write there is refused: JSON that is none comes as the text that stands there, and
    text that is not UTF-8 as bytes. The floors above say which of their records they cannot read.
    """
    if kind == "bin":
        return _compared(content, digest)
    if kind == "json":
        content = content.removeprefix(_BOM)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return _compared(content, digest)
    if kind == "txt":
        return _compared(text, digest)
    line = text.removesuffix("\n")
    if len(content) > _PARSED or (digest is not None and digest_of(line) == digest):
        return _compared(line, digest)
    # The digest decides, so the fast way is as exact as the other, whichever release of the JSON library wrote it.
    try:
        parsed = from_json(content, allow_inf_nan=False)
    except ValueError:
        return _compared(text, digest)
    if digest is not None:
        fast = to_json(parsed).decode()
        if digest_of(fast) == digest:
            return fast, True
    return _compared(_compact(text), digest)


def _compared(value: Value, digest: str | None) -> tuple[Value, bool]:
    return value, digest is not None and digest_of(value) == digest


def _compact(text: str) -> str:
    """JSON without the blanks between its tokens, which are not touched: exact for whatever a number looks like."""
    return "".join(_TOKEN.findall(text))
