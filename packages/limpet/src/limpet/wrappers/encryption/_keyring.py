"""The key ring of an encrypted database: its random keys, encrypted once for each encryption key that opens it.

One item in the clear holds a salt and a lock for each encryption key, oldest first. A lock is the index key and the
value keys up to its own number, sealed under that encryption key, so opening one is what proves a key. A rotation adds
a lock with one more value key, and at its end takes the older locks away: the keys that opened them open nothing from
then on, while the last lock still knows every value key, so nothing that a late writer sealed is lost.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import urandom
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic_core import from_json, to_json

from ..._errors import ConflictError, CorruptDataError, FormatError, WrongKeyError, WrongStackError
from ..._secrets import SecretBytes
from ...driver import Driver, Etag, If, Item, Put, Range
from .._reserved import MANIFEST, RING
from .._wrapper import layers
from ._key_digests import KeyDigests
from ._sealing import Sealer

__all__ = ["KeyRing", "open_ring"]

_FORMAT = 1
_BYTES = 32
_NONCE = 12
_LEAST = _NONCE + 2 * _BYTES + 16
_TRIES = 20


@dataclass(frozen=True, slots=True)
class _Stored:
    salt: bytes
    locks: tuple[bytes, ...]
    """Oldest first; the last one holds every key."""
    retired: tuple[bytes, ...] = ()
    """What proves a key that opened an older lock, which a rotation has taken away."""

    @classmethod
    def read(cls, item: Item) -> _Stored:
        try:
            match from_json(item.value or ""):
                case {"format": int(version)} if version > _FORMAT:
                    raise FormatError(f"the key ring of this database has format {version}: upgrade limpet")
                case {"salt": str(salt), "locks": [_, *_] as locks, "retired": [*retired]}:
                    stored = cls(_bytes(salt), tuple(map(_bytes, locks)), tuple(map(_bytes, retired)))
                    if len(stored.salt) == _BYTES and all(len(lock) >= _LEAST for lock in stored.locks):
                        return stored
        except (ValueError, TypeError) as error:
            if isinstance(error, FormatError):
                raise
            raise _unreadable() from error
        raise _unreadable()

    def write(self) -> str:
        parts = {"locks": [*map(_text, self.locks)], "retired": [*map(_text, self.retired)]}
        return to_json({"format": _FORMAT, "salt": _text(self.salt), **parts}).decode()


@dataclass(frozen=True, slots=True, repr=False)  # a repr would show the keys
class KeyRing:
    """An opened key ring."""

    digests: KeyDigests
    sealer: Sealer
    etag: Etag
    _stored: _Stored
    _keys: tuple[bytes, ...]
    _bundle: bytes

    @property
    def locks(self) -> int:
        """How many encryption keys open this place: more than one while a rotation is due or under way."""
        return len(self._stored.locks)

    @property
    def leads(self) -> bool:
        """Whether the first of the keys given opens the newest lock, which a rotation leaves."""
        return _unlock(self._stored, self._stored.locks[-1], self._keys[0]) is not None

    def put_back(self) -> Put:
        """The write that stores this ring again where it is gone: the same version, whichever process writes it."""
        return Put(RING, self._stored.write(), If.ABSENT, etag=self.etag)

    def compare(self, item: Item) -> Literal["covers", "older", "foreign"]:
        """What the ring stored at `item` is to this one: does it open what this one seals, or is it an older version?"""
        stored, mine = _Stored.read(item), self._stored.locks[-1]
        if stored.salt != self._stored.salt:
            return "foreign"
        if mine in stored.locks:
            return "covers"
        last = stored.locks[-1]
        bundle = next(filter(None, (_unlock(stored, last, key) for key in self._keys)), None)
        if bundle is not None:
            known = self._bundle
            return "covers" if bundle.startswith(known) else "older" if known.startswith(bundle) else "foreign"
        if len(last) == len(mine):
            return "foreign"  # two that grew apart: one of them was put back after a loss
        return "covers" if len(last) > len(mine) else "older"

    def in_place_of(self, older: Item) -> Put:
        """The write that stores this ring over an older version of it."""
        return Put(RING, self._stored.write(), older.etag)

    def without_older_locks(self) -> Put:
        """The write after which only the newest encryption key opens this place."""
        stored = self._stored
        opened = [key for key in self._keys if any(_unlock(stored, lock, key) for lock in stored.locks[:-1])]
        retired = (*stored.retired, *(_derive(key, stored.salt, b"retired") for key in opened))
        shorter = replace(stored, locks=stored.locks[-1:], retired=retired)
        return Put(RING, shorter.write(), self.etag)


async def open_ring(driver: Driver, keys: Sequence[bytes]) -> KeyRing:
    """Open the key ring of what `driver` holds; the first of `keys` is the one to seal with from now on.

    A new place gets a ring. Where the first key is new and another one opens the last lock, a lock for it is added.
    Raises `WrongKeyError`, and `WrongStackError` for a place that was written without encryption; then nothing is written.
    """
    for _ in range(_TRIES):
        item = await _item(driver)
        if item is None:
            await _expect_a_new_place(driver)
            put = _first(keys[0])
        else:
            stored = _Stored.read(item)
            bundle = _open(stored, keys)
            if _known(stored, keys[0]):
                return _opened(stored, bundle, item.etag, keys)
            bundle = SecretBytes(bundle + urandom(_BYTES))
            locks = (*stored.locks, _lock(stored.salt, keys[0], bundle))
            put = Put(RING, replace(stored, locks=locks).write(), item.etag)
        try:
            await driver.apply([put])
        except ConflictError:
            continue  # somebody else opened the same new place, or brought the same new key
    raise WrongKeyError("the key ring of this database keeps changing: open it when the rotation has finished")


async def _item(driver: Driver) -> Item | None:
    (item,) = await driver.get([RING])
    return item


async def _expect_a_new_place(driver: Driver) -> None:
    (manifest,) = await layers(driver)[-1].get([MANIFEST])
    if manifest is None and not (await driver.scan(Range(limit=1, values=False))).items:
        return
    if await _item(driver) is None:  # else somebody else has opened the same new place meanwhile
        raise WrongStackError(
            "this database was written without encryption, or lost its key ring: open it without encrypted(), copy its "
            "contents to a new database, or restore the item 'keyring'"
        )


def _first(key: bytes) -> Put:
    salt = urandom(_BYTES)
    stored = _Stored(salt, (_lock(salt, key, urandom(2 * _BYTES)),))
    return Put(RING, stored.write(), If.ABSENT)


def _open(stored: _Stored, keys: Sequence[bytes]) -> bytes:
    for key in keys:
        bundle = _unlock(stored, stored.locks[-1], key)
        if bundle is not None:
            return bundle
    if any(_known(stored, key) for key in keys):
        raise WrongKeyError(
            "this encryption key is an older one: the database was rotated to a newer key; open it with that one"
        )
    raise WrongKeyError(
        "this database was not encrypted with this key: use the right one (nothing was read or changed)"
    )


def _known(stored: _Stored, key: bytes) -> bool:
    if _derive(key, stored.salt, b"retired") in stored.retired:
        return True
    return any(_unlock(stored, lock, key) for lock in stored.locks)


def _opened(stored: _Stored, bundle: bytes, etag: Etag, keys: Sequence[bytes]) -> KeyRing:
    index_key, *value_keys = (bundle[start : start + _BYTES] for start in range(0, len(bundle), _BYTES))
    digests = KeyDigests(_derive(index_key, stored.salt, b"keys"))
    sealer = Sealer([_derive(key, stored.salt, b"values") for key in value_keys])
    return KeyRing(digests, sealer, etag, stored, tuple(keys), bundle)


def _lock(salt: bytes, key: bytes, bundle: bytes) -> bytes:
    nonce = urandom(_NONCE)
    return nonce + AESGCM(_derive(key, salt, b"locks")).encrypt(nonce, bundle, salt)


def _unlock(stored: _Stored, lock: bytes, key: bytes) -> bytes | None:
    try:
        cipher = AESGCM(_derive(key, stored.salt, b"locks"))
        return SecretBytes(cipher.decrypt(lock[:_NONCE], lock[_NONCE:], stored.salt))
    except InvalidTag:
        return None


def _derive(key: bytes, salt: bytes, purpose: bytes) -> bytes:
    return SecretBytes(HKDF(SHA256(), _BYTES, salt, b"limpet " + purpose).derive(key))


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text)


def _unreadable() -> CorruptDataError:
    return CorruptDataError(
        "the key ring of this database (the item 'keyring') cannot be read: restore it from a backup"
    )
