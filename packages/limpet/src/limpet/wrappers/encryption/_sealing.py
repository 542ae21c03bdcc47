"""The form of an encrypted value: AES-256-GCM, bound to its key and etag. Pure.

A sealed value is bytes: the version, the form, two bytes for the number of the value key, a nonce of 12, and the
ciphertext with its tag of 16. The plaintext is a byte for text or bytes, two for the length of the true key (0 where
the stored key says it all), that key, and the value. What stands before the nonce, the etag and the stored key are
authenticated with it. An entry that the backend numbers is bound to its key without the number: that is its form.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import urandom

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..._errors import CorruptDataError, WrongKeyError
from ...driver import Etag, Item, Key, Put, Value

__all__ = ["Sealer"]

_VERSION = 1
_WHOLE, _ENTRY = 0, 1
_HEAD = 4
_NONCE = 12
_TIME = 8
"""Bytes of a time: milliseconds since 1970."""
_LEAST = _HEAD + _NONCE + 3 + 16


class Sealer:
    """Seals under the newest of the value keys, opens under any; key number n is `value_keys[n - 1]`."""

    def __init__(self, value_keys: Sequence[bytes]) -> None:
        self._ciphers = [AESGCM(key) for key in value_keys]
        self.generation: int = len(value_keys)
        self._heads = [bytes((_VERSION, form)) + self.generation.to_bytes(2) for form in (_WHOLE, _ENTRY)]

    def seal(self, put: Put, stored: Key, *, entry: bool = False, written_at: int | None = None) -> bytes:
        """What to store at `stored` for a put; `entry`: the backend adds a number to that key.

        `written_at`: when the value was written in truth, where this only seals it anew.
        """
        value = put.value
        kind, raw = (b"t", value.encode()) if isinstance(value, str) else (b"b", value)
        if written_at is not None:
            kind, raw = kind.upper(), written_at.to_bytes(_TIME) + raw
        true_key = b"" if put.key == stored else put.key.encode()
        head, nonce = self._heads[entry], urandom(_NONCE)
        plain = b"".join((kind, len(true_key).to_bytes(2), true_key, raw))
        return head + nonce + self._ciphers[-1].encrypt(nonce, plain, _bound(head, put.etag, stored))

    def is_older(self, value: Value | None) -> bool:
        """Whether a value is sealed under an older key than the newest."""
        return isinstance(value, bytes) and int.from_bytes(value[2:_HEAD]) < self.generation

    def unseal(self, item: Item) -> Item:
        """The item as it was put: its true key, its value, and when it was written.

        Raises `CorruptDataError`, and `WrongKeyError` for a key that is newer than what this process knows.
        """
        sealed, stored, number = item.value, item.key, ""
        if not isinstance(sealed, bytes) or len(sealed) < _LEAST or sealed[0] != _VERSION:
            raise CorruptDataError(
                f"the value at {item.key!r} was truncated or never encrypted: something wrote it without encryption",
                key=item.key,
            )
        head, nonce = sealed[:_HEAD], sealed[_HEAD : _HEAD + _NONCE]
        if head[1] == _ENTRY:
            stored, _, number = stored.rpartition("!")
        generation = int.from_bytes(head[2:])
        if not 0 < generation <= self.generation:
            raise WrongKeyError(
                f"the value at {item.key!r} is encrypted with key {generation}, which this process does not have: "
                "the database was rotated to a newer key; restart with that one"
            )
        try:
            plain = self._ciphers[generation - 1].decrypt(
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
        return Item(f"{true_key}!{number}" if number else true_key, value, item.etag, written_at, item.ttl_ms)


def _bound(head: bytes, etag: Etag, stored: Key) -> bytes:
    return b"%b%b\0%b" % (head, etag.encode(), stored.encode())
