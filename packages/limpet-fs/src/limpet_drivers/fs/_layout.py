"""Where an item is stored: the key `images!@img_1` is the file `images/img_1.json`.

One segment is one name. The mapping is reversible, so that files added by people are found:

    first segment    a name is written as it is; text is marked `@`
    later segments   text is written as it is; a name is marked `~`
    numbers          their 16 digits (text that looks like one has its first digit escaped)
    in text          a capital is `^` and its small letter, a space is `+`, whatever else is not
                     `a-z 0-9 _ - . @` is `%hh` for each of its UTF-8 bytes; empty text is `%`
    the digest of a long text   follows `=`
    a name of more than 120 characters   continues in a folder: each part but the last ends with `,`

These names consist of lower-case ASCII letters and a few symbols, so they are safe on file systems that ignore
case, normalize Unicode, or follow Windows' rules: dots at the start or end and device names such as `con` are escaped.
Files end in `.json`, `.txt` or `.bin` and folders never do, so `foo` stands beside `foo:bar` and `foo.json`.
A name that this mapping would not write is foreign: it is left alone and never listed.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from limpet._errors import InvalidKeyError
from limpet.driver import MAX_KEY_BYTES, Key, check_key, is_number, split

__all__ = ["HIDDEN", "KINDS", "Place", "could_be_folder", "folder_of", "key_at", "place_of"]

HIDDEN = ".limpet"
"""The folder in the base for everything that is not in the files: etags, expiries, the journal."""

KINDS = ("json", "txt", "bin")
"""The file extensions; see `_contents`."""

_PART = 120
_PLAIN = re.compile(r"[a-z0-9_-][a-z0-9_.-]{0,99}")
_SIMPLE = re.compile(r"[a-z0-9_-]{1,100}")
"""Text that is written unchanged, unless it looks like a number or is a device name."""
_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_LITERAL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-.@")
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin", "conout", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))]
)
_WRITTEN = re.compile(r"(?:[a-z0-9_.@+-]|\^[a-z]|%[0-9a-f]{2})*")
_DIGEST = re.compile(r"=(?:[a-z0-9_-]|\^[a-z])*$")
_FOLDER = re.compile(r"[a-z0-9_@~^%+=-][a-z0-9_.@~^%+=,-]*")
_TOKEN = re.compile(rb"\^[a-z]|%[0-9a-f]{2}|\+")
_ESCAPE = re.compile("#([0-9a-f]{2})")
_SPECIAL = re.compile("[\x00-\x23]")


class Place(NamedTuple):
    """Where the file of a key is, relative to the base, with `/` between the names."""

    folder: str
    """Empty for the base itself."""
    stem: str
    """The file name without its extension."""

    @property
    def path(self) -> str:
        """The file path without its extension."""
        return f"{self.folder}/{self.stem}" if self.folder else self.stem


def place_of(key: Key) -> Place:
    """Return where the file of a key is."""
    folder, _, stem = folder_of(key).rpartition("/")
    return Place(folder, stem)


def folder_of(key: Key) -> str:
    """Return the folder that contains everything below a key; the base for the empty key."""
    if not key:
        return ""
    segments = split(key)
    return "/".join([_written(segments[0], True), *(_written(segment, False) for segment in segments[1:])])


def could_be_folder(name: str) -> bool:
    """Return whether a folder of this name may contain items. A quick check: `key_at` decides for each file."""
    return _FOLDER.fullmatch(name) is not None


def key_at(folder: str, name: str) -> Key | None:
    """Return the key whose file has this name in this folder; `None` if the name is foreign."""
    stem, _, kind = name.rpartition(".")
    if kind not in KINDS or not stem:
        return None
    if _is_simple(stem) and (around := _segments_at(folder)):
        key = f"{around}!@{stem}"
        if len(key) <= MAX_KEY_BYTES // 4:
            return key
    names: list[str] = []
    begun = ""
    for part in (*folder.split("/"), stem) if folder else (stem,):
        if part.endswith(","):
            begun += part[:-1]
        else:
            names.append(begun + part)
            begun = ""
    segments = [_read(part, first=at == 0) for at, part in enumerate(names)]
    if begun or None in segments:
        return None
    key = "!".join(segment for segment in segments if segment is not None)
    try:
        check_key(key)
    except InvalidKeyError:
        return None
    return key if place_of(key) == (folder, stem) else None


@lru_cache(maxsize=4096)
def _segments_at(folder: str) -> Key | None:
    """Return the key whose descendants are in this folder; `None` if it contains none."""
    segments = [_read(part, first=at == 0) for at, part in enumerate(folder.split("/"))] if folder else []
    key = "!".join(segment for segment in segments if segment is not None)
    return key if key and None not in segments and folder_of(key) == folder else None


def _is_simple(text: str) -> bool:
    return _SIMPLE.fullmatch(text) is not None and not is_number(text) and text not in _DEVICES


@lru_cache(maxsize=8192)
def _written(segment: str, first: bool) -> str:
    """Return the name of one segment, or several names separated by `/`."""
    if segment.startswith("@"):
        text = segment[1:]
        if not first and _is_simple(text):
            return text
        if not first and _PLAIN.fullmatch(text) and not is_number(text):
            tokens = list(text)
        else:
            tokens = _tokens(text)
            if first:
                tokens.insert(0, "@")
            elif not tokens:
                return "%"
            elif is_number(text):
                tokens[0] = _escaped(tokens[0])
    elif is_number(segment) or first:
        tokens = list(segment)
    else:
        tokens = ["~", *segment]
    return "/".join(_parts(tokens))


def _tokens(text: str) -> list[str]:
    plain, mark, digest = text.partition('"')
    tokens = [_token(character) for character in _ESCAPE.sub(_unescape, plain)]
    if mark:
        tokens += ["=", *(_token(character) for character in digest)]
    return tokens


def _token(character: str) -> str:
    if character in _LITERAL:
        return character
    if character == " ":
        return "+"
    if "A" <= character <= "Z":
        return "^" + character.lower()
    return _escaped(character)


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02x}" for byte in character.encode())


def _parts(tokens: list[str]) -> list[str]:
    """Join tokens into names of limited length, none of which has a special meaning to a file system."""
    parts: list[list[str]] = [[]]
    room = _PART
    for token in tokens:
        if len(token) > room:
            parts.append([])
            room = _PART
        # Non-ASCII characters consist of several escapes. Keeping these together only makes a part a little shorter.
        parts[-1].append(token)
        room -= len(token)
    for part in parts:
        if part[0] == ".":
            part[0] = "%2e"
        if part is not parts[-1]:
            part.append(",")
        else:
            if part[-1] == ".":
                part[-1] = "%2e"
            for kind in KINDS:
                if "".join(part[-len(kind) - 1 :]) == "." + kind:
                    part[-len(kind) - 1] = "%2e"
        if "".join(part).partition(".")[0] in _DEVICES:
            part[0] = _escaped(part[0])
    return ["".join(part) for part in parts]


def _read(written: str, *, first: bool) -> str | None:
    """Return the encoded segment that a name stands for; `None` if it stands for none."""
    if is_number(written):
        return written
    if first and not written.startswith("@"):
        return _read_name(written)
    if written.startswith("~"):
        return None if first else _read_name(written[1:])
    if first:
        written = written[1:]
    elif written == "%":
        written = ""
    digest = _DIGEST.search(written)
    text = _plain(written[: digest.start()] if digest else written)
    if text is None:
        return None
    segment = "@" + _SPECIAL.sub(_special, text)
    return segment if digest is None else f'{segment}"{_plain(digest[0][1:])}'


def _read_name(written: str) -> str | None:
    name = _plain(written)
    return name if name is not None and _NAME.fullmatch(name) else None


def _plain(written: str) -> str | None:
    if not _WRITTEN.fullmatch(written):
        return None
    try:
        return _TOKEN.sub(_untoken, written.encode()).decode()
    except UnicodeDecodeError:
        return None


def _untoken(match: re.Match[bytes]) -> bytes:
    token = match[0]
    if token == b"+":
        return b" "
    return token[1:].upper() if token.startswith(b"^") else bytes([int(token[1:], 16)])


def _unescape(match: re.Match[str]) -> str:
    return chr(int(match[1], 16))


def _special(match: re.Match[str]) -> str:
    return f"#{ord(match[0]):02x}"
