"""Cursors: a position in a list as text for callers, accepted back only if it is within the bounds of the list."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256

from .._errors import InvalidCursorError, InvalidKeyError
from ..driver import Key, check_key

__all__ = ["Cursors", "KeysBelow", "Numbers", "Positions"]

_LONGEST = 8192
"""Maximum characters of a cursor. One that contains another, for the longest possible key, has about 2,000."""
_MARK = 9
_DIGITS = 16


class Positions:
    """The valid positions of a list.

    In this class any text is valid, for lists that check their positions themselves.
    """

    def written(self, position: str) -> str:
        """Return a position in the form that a cursor contains."""
        return position

    def read(self, written: str) -> str:
        """Return the position in a cursor. Raises `InvalidCursorError` if it is outside of the list."""
        return written


class KeysBelow(Positions):
    """Positions that are keys below `base`, which cursors omit. A driver never reads outside of a range's base."""

    def __init__(self, base: Key) -> None:
        self._head = f"{base}!"

    def written(self, position: str) -> str:
        return f"!{position.removeprefix(self._head)}" if position.startswith(self._head) else position

    def read(self, written: str) -> str:
        # A key without the base is from an encrypted database, where keys are digests.
        position = self._head + written[1:] if written.startswith("!") else written
        try:
            check_key(position)
        except InvalidKeyError:
            raise _damaged() from None
        return position


class Numbers(Positions):
    """Positions that are whole numbers, with `after < number < before` where these are given."""

    def __init__(self, after: int | None = None, before: int | None = None) -> None:
        self._after = -1 if after is None else max(after, -1)
        self._before = 10**_DIGITS if before is None else before

    def read(self, written: str) -> str:
        if not (len(written) <= _DIGITS and written.isascii() and written.isdecimal()):
            raise _damaged()
        if not self._after < int(written) < self._before:
            raise _damaged()
        return written


class Cursors:
    """The cursors of one query. A cursor consists of a mark of the query, a checksum, and the position."""

    def __init__(self, query: Sequence[str], positions: Positions) -> None:
        """`query` identifies the query: the method and its arguments, including bounds."""
        self._mark = _digest(repr([*query]).encode(errors="surrogatepass"))
        self._positions = positions

    def write(self, position: str) -> str:
        """Return the cursor for a position."""
        written = self._positions.written(position).encode()
        return urlsafe_b64encode(self._mark + _digest(self._mark + written) + written).decode().rstrip("=")

    def read(self, cursor: object) -> str:
        """Return the position in a cursor.

        Raises `InvalidCursorError` for anything that is not a cursor of this query.
        """
        if not isinstance(cursor, str) or len(cursor) > _LONGEST:
            raise _damaged()
        try:
            raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
            mark, checksum, written = raw[:_MARK], raw[_MARK : 2 * _MARK], raw[2 * _MARK :]
            text = written.decode()
        except ValueError:
            raise _damaged() from None
        if urlsafe_b64encode(raw).decode().rstrip("=") != cursor or checksum != _digest(mark + written):
            raise _damaged()
        if mark != self._mark:
            raise InvalidCursorError(
                "the cursor belongs to another query: use it with the method and arguments that it came from"
            )
        return self._positions.read(text)


def _damaged() -> InvalidCursorError:
    return InvalidCursorError("the cursor is damaged: pass page.cursor on unchanged")


def _digest(data: bytes) -> bytes:
    return sha256(data).digest()[:_MARK]
