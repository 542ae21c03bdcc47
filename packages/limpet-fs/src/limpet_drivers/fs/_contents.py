"""Convert a value to the readable content of a file, and back to the exact value.

JSON is indented (`.json`) if removing the whitespace restores the exact text. Other text is written unchanged
(`.txt`), as are bytes (`.bin`). A person who edits a `.json` file can format it in any way.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from hashlib import blake2b

from limpet.driver import Etag, Key, Value
from pydantic_core import from_json, to_json

__all__ = ["digest_of", "edited_etag", "shown", "understood"]

_PRETTY = 1024 * 1024
"""JSON above this size is written on one line: nobody reads it, and indenting takes time."""
_GROWTH = 4
"""So is JSON that would grow by more than this factor: deeply nested JSON would be mostly whitespace."""
_PARSED = _GROWTH * _PRETTY + 1
"""Limpet indents nothing longer than this, and parsing what others wrote can take twenty times its size in memory."""
_JSON_BEGINS = '{["-0123456789tfn'
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[^\s"]+')
_BOM = b"\xef\xbb\xbf"


def digest_of(value: Value) -> str:
    """Equal only for equal values. Text is never equal to bytes."""
    text = isinstance(value, str)
    digest = blake2b(b"t" if text else b"b", digest_size=16)
    digest.update(value.encode() if isinstance(value, str) else value)
    return digest.hexdigest()


def edited_etag(key: Key, etag: Etag | None, digest: str) -> Etag:
    """Return the etag of content that someone else wrote: the same in every process, different for different content.

    `etag` is the recorded one, so that an edit after a later write differs from the same edit before it.
    """
    seed = blake2b(f"{etag or ''}\0{key}\0{digest}".encode(), digest_size=16)
    return Etag(urlsafe_b64encode(seed.digest())[:22].decode())


def shown(value: Value) -> tuple[str, bytes]:
    """Return the file extension and the file content for this value."""
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
    """Return the value in a file, and whether it is the recorded one (`digest`; `None` if there is no record).

    Whatever a person writes into the file is accepted: invalid JSON is returned as text, and text that is not UTF-8 as
    bytes. The layers above report which of their records they cannot read.
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
    # The digest decides, so the shortcut is exact too, whichever release of the JSON library wrote the file.
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
    """Remove the whitespace between JSON tokens. The tokens do not change, so numbers keep their exact form."""
    return "".join(_TOKEN.findall(text))
