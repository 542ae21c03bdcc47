"""The form of an encrypted value: AES-256-GCM, bound to its key and etag. No I/O.

A sealed value is bytes: the version, two bytes for the number of the value key, a nonce of 12 bytes, and the
ciphertext with its tag of 16 bytes. The plaintext consists of a byte that says whether the value is text or bytes, two
bytes for the length of the real key (0 if the stored key says everything), that key, and the value. What precedes the
nonce, the etag and the stored key are authenticated too. Version 1 omitted the number of a log's entry
from that key; no release wrote it, and none reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import urandom

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..._errors import CorruptDataError, WrongKeyError
from ...driver import Etag, Item, Key, Put, Value

__all__ = ["Sealer"]

_VERSION = 2
_HEAD = 3
_NONCE = 12
_TIME = 8
"""Size of a time: milliseconds since 1970."""
_LEAST = _HEAD + _NONCE + 3 + 16


class Sealer:
    """Seals with the newest value key, opens with any. The first one has the number `first`."""

    def __init__(self, value_keys: Sequence[bytes], first: int = 1) -> None:
        self._ciphers = [AESGCM(key) for key in value_keys]
        self.first = first
        self.generation: int = first + len(value_keys) - 1
        self._head = bytes((_VERSION,)) + self.generation.to_bytes(2)

    def seal(self, put: Put, stored: Key, *, written_at: int | None = None) -> bytes:
        """Return what to store at `stored` for a put.

        `written_at`: when the value was originally written, if this only encrypts it again.
        """
        value = put.value
        kind, raw = (b"t", value.encode()) if isinstance(value, str) else (b"b", value)
        if written_at is not None:
            kind, raw = kind.upper(), written_at.to_bytes(_TIME) + raw
        true_key = b"" if put.key == stored else put.key.encode()
        head, nonce = self._head, urandom(_NONCE)
        plain = b"".join((kind, len(true_key).to_bytes(2), true_key, raw))
        return head + nonce + self._ciphers[-1].encrypt(nonce, plain, _bound(head, put.etag, stored))

    def is_older(self, value: Value | None) -> bool:
        """Return whether a value is encrypted with a key older than the newest."""
        return isinstance(value, bytes) and int.from_bytes(value[1:_HEAD]) < self.generation

    def unseal(self, item: Item, *, known: bool = False) -> Item:
        """Return the item as it was put: its real key, its value, and when it was written.

        Raises `CorruptDataError`, and `WrongKeyError` for a value key newer than these, unless these are `known` to
        be all that exist: then someone changed its number.
        """
        sealed, stored = item.value, item.key
        if not isinstance(sealed, bytes) or len(sealed) < _LEAST or sealed[0] != _VERSION:
            raise CorruptDataError(
                f"the value at {item.key!r} was truncated or never encrypted: something wrote it without encryption",
                key=item.key,
            )
        head, nonce = sealed[:_HEAD], sealed[_HEAD : _HEAD + _NONCE]
        generation = int.from_bytes(head[1:])
        if generation < self.first:
            raise CorruptDataError(
                f"the value at {item.key!r} is encrypted with key {generation}, which a complete rotation took away: "
                "who wrote it had an older key; write it again",
                key=item.key,
            )
        if generation > self.generation and known:
            raise CorruptDataError(
                f"the value at {item.key!r} is encrypted with key {generation}, which the key ring of this database lacks: "
                "it was damaged, or the key ring was set back to an earlier version",
                key=item.key,
            )
        if generation > self.generation:
            raise WrongKeyError(
                f"the value at {item.key!r} is encrypted with key {generation}, which this process does not have: "
                "the database was rotated to a newer key; restart with that one"
            )
        try:
            plain = self._ciphers[generation - self.first].decrypt(
                nonce, sealed[_HEAD + _NONCE :], _bound(head, item.etag, stored)
            )
        except InvalidTag as error:
            raise CorruptDataError(
                f"the value at {item.key!r} is not what was encrypted there: it was damaged, truncated, or moved from another key",
                key=item.key,
            ) from error
        start = 3 + int.from_bytes(plain[1:3])
        true_key = plain[3:start].decode() or stored
        kind, written_at = plain[:1], item.updated_at
        if kind.isupper():
            written_at, start = int.from_bytes(plain[start : start + _TIME]), start + _TIME
        raw = plain[start:]
        value = raw.decode() if kind in b"tT" else raw
        return Item(true_key, value, item.etag, written_at, item.ttl_ms)


def _bound(head: bytes, etag: Etag, stored: Key) -> bytes:
    return b"%b%b\0%b" % (head, etag.encode(), stored.encode())
