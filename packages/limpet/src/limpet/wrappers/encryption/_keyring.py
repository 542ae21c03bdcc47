"""The key ring of an encrypted database: its random keys, encrypted once for each encryption key that opens it.

One plaintext item contains a salt and one lock per encryption key, oldest first. A lock is the index key and the value
keys up to its own number, encrypted with that encryption key, so a key is right if it opens a lock. The last lock
authenticates the rest of the item. A rotation adds a lock with one more value key, and finally removes the older locks:
the keys that opened them open nothing from then on. While there are older locks, opening a lock also needs the key of
the one before it. So however old a key ring someone restores, a key alone opens only what the end of its own rotation
left: all value keys, so that nothing from a late writer is lost, or, after a complete rotation, only the newest.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
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

__all__ = ["KeyRing", "Standing", "open_ring"]

_FORMAT = 2
_BYTES = 32
_NONCE = 12
_EMPTY = _NONCE + _BYTES + 16
"""Size of a lock without its value keys."""
_TRIES = 20
_MOST_LOCKS = 64

Standing = Literal["covers", "left", "older", "foreign"]
"""How a stored ring relates to ours: it opens what ours encrypts; it does not, or soon will not, because a complete
rotation continued without us; it is an earlier version of ours; it is unrelated to ours."""


@dataclass(frozen=True, slots=True)
class _Stored:
    salt: bytes
    locks: tuple[bytes, ...]
    """Oldest first; the last one contains every value key."""
    first: int = 1
    """The number of the oldest value key."""
    closing: bool = False
    """A complete rotation is running: nobody may write under a value key older than the newest."""
    retired: tuple[bytes, ...] = ()
    """Recognizes keys that opened older locks, which a rotation has removed."""

    @classmethod
    def read(cls, item: Item) -> _Stored:
        try:
            match from_json(item.value or ""):
                case {"format": int(version)} if version > _FORMAT:
                    raise FormatError(f"the key ring of this database has format {version}: upgrade limpet")
                case {"format": 1}:
                    raise FormatError(
                        "the key ring of this database has format 1, from before the first release: open the database with "
                        "the version that wrote it, and copy its contents to a new one"
                    )
                case {
                    "format": 2,
                    "salt": str(salt),
                    "first": int(first),
                    "closing": bool(closing),
                    "locks": [_, *_] as locks,
                    "retired": [*retired],
                } if len(locks) <= _MOST_LOCKS and 0 < first < 2**16:
                    stored = cls(_bytes(salt), tuple(map(_bytes, locks)), first, closing, tuple(map(_bytes, retired)))
                    if len(stored.salt) == _BYTES and all(len(lock) >= _EMPTY + _BYTES for lock in stored.locks):
                        return stored
        except (ValueError, TypeError) as error:
            if isinstance(error, FormatError):
                raise
            raise _unreadable() from error
        raise _unreadable()

    def write(self) -> str:
        return to_json(self._parts() | {"closing": self.closing, "locks": [*map(_text, self.locks)]}).decode()

    @property
    def newest(self) -> int:
        """The number of the newest value key, derived from the length of the last lock."""
        return self.first - 1 + (len(self.locks[-1]) - _EMPTY) // _BYTES

    def locked(self, bundle: bytes, keys: Sequence[bytes]) -> _Stored:
        """Return the ring with one more lock, for a key and the one of the lock before it."""
        nonce = urandom(_NONCE)
        sealed = self._cipher(keys).encrypt(nonce, bundle, self._bound(len(self.locks), self.closing))
        return replace(self, locks=(*self.locks, nonce + sealed))

    def unlock(self, at: int, keys: Sequence[bytes]) -> tuple[bytes, tuple[bytes, ...]] | None:
        """Return the contents of a lock, and the keys that opened it, its own first."""
        lock = self.locks[at]
        bound = self._bound(at, self.closing and at == len(self.locks) - 1)
        for tried in permutations(keys, 2 if at else 1):
            try:
                return SecretBytes(self._cipher(tried).decrypt(lock[:_NONCE], lock[_NONCE:], bound)), tried
            except InvalidTag:
                continue
        return None

    def knows(self, key: bytes, keys: Sequence[bytes]) -> bool:
        """Return whether a key opens one of the locks together with the others, or once did."""
        if self.derive(key, b"retired") in self.retired:
            return True
        opened = [self.unlock(at, keys) for at in range(len(self.locks))]
        return any(found is not None and key in found[1] for found in opened)

    def derive(self, key: bytes, purpose: bytes) -> bytes:
        return SecretBytes(HKDF(SHA256(), _BYTES, self.salt, b"limpet " + purpose).derive(key))

    def _cipher(self, keys: Sequence[bytes]) -> AESGCM:
        return AESGCM(self.derive(SecretBytes(b"".join(keys)), b"locks"))

    def _bound(self, at: int, closing: bool) -> bytes:
        """Return what is authenticated with a lock: everything next to it, and the locks before it."""
        return to_json(self._parts() | {"closing": closing, "locks": [*map(_text, self.locks[:at])]})

    def _parts(self) -> dict[str, object]:
        retired = [*map(_text, self.retired)]
        return {"format": _FORMAT, "salt": _text(self.salt), "first": self.first, "retired": retired}


@dataclass(frozen=True, slots=True, repr=False)  # a repr would show the keys
class KeyRing:
    """An opened key ring."""

    digests: KeyDigests
    sealer: Sealer
    etag: Etag
    _stored: _Stored
    _keys: tuple[bytes, ...]
    _opened_by: tuple[bytes, ...]
    _bundle: bytes

    @property
    def locks(self) -> int:
        """How many encryption keys open this database: more than one while a rotation is due or running."""
        return len(self._stored.locks)

    @property
    def leads(self) -> bool:
        """Whether the first of the given keys is that of the newest lock, which a rotation keeps."""
        return self._opened_by[0] == self._keys[0]

    @property
    def is_closing(self) -> bool:
        """Whether a complete rotation was started, and must be finished as one."""
        return self._stored.closing

    def put_back(self) -> Put:
        """Return the write that restores this ring if it is gone: the same version, whichever process writes it."""
        return Put(RING, self._stored.write(), If.ABSENT, etag=self.etag)

    def compare(self, item: Item) -> Standing:
        """Return how the ring stored at `item` relates to this one."""
        stored, mine = _Stored.read(item), self._stored
        if stored.salt != mine.salt:
            return "foreign"
        newest = self.sealer.generation
        if stored.newest > newest and (stored.first > newest or stored.closing):
            return "left"
        if mine.locks[-1] in stored.locks:
            return "covers"
        found = stored.unlock(len(stored.locks) - 1, self._keys)
        if found is not None:
            theirs, known = _numbered(stored, found[0]), _numbered(mine, self._bundle)
            if any(known.get(number, theirs[number]) != theirs[number] for number in theirs):
                return "foreign"
            return "covers" if newest in theirs and stored.first >= mine.first else "older"
        if stored.newest == newest:
            return "foreign"  # both changed separately: one of them was restored after a loss
        return "covers" if stored.newest > newest else "older"

    def in_place_of(self, older: Item) -> Put:
        """Return the write that stores this ring over an older version of it."""
        return Put(RING, self._stored.write(), older.etag)

    def closing(self) -> Put:
        """Return the write that announces the end of older value keys, so that writers who use one encrypt again."""
        earlier = replace(self._stored, locks=self._stored.locks[:-1], closing=True)
        return Put(RING, earlier.locked(self._bundle, self._opened_by).write(), self.etag)

    def without_older_locks(self, *, complete: bool = False) -> Put:
        """Return the write after which only the newest encryption key opens this database.

        With `complete`, only what is encrypted under the newest value key can be read from then on.
        """
        stored, keys = self._stored, self._opened_by[:1]
        older = [key for key in self._keys if key not in keys and stored.knows(key, self._keys)]
        retired = dict.fromkeys([*stored.retired, *(stored.derive(key, b"retired") for key in older)])
        bundle, first = self._bundle, stored.first
        if complete:
            bundle, first = SecretBytes(bundle[:_BYTES] + bundle[-_BYTES:]), self.sealer.generation
        return Put(RING, _Stored(stored.salt, (), first, False, tuple(retired)).locked(bundle, keys).write(), self.etag)


async def open_ring(driver: Driver, keys: Sequence[bytes]) -> KeyRing:
    """Open the key ring of a driver's database. From now on, the first of `keys` encrypts.

    A new database gets a key ring. If the first key is new and others open the last lock, a lock for it is added.
    Raises `WrongKeyError`, and `WrongStackError` for a database written without encryption; then nothing is written.
    """
    keys = tuple(dict.fromkeys(keys))
    for _ in range(_TRIES):
        item = await _item(driver)
        if item is None:
            await _expect_a_new_place(driver)
            put = Put(
                RING, _Stored(urandom(_BYTES), ()).locked(SecretBytes(urandom(2 * _BYTES)), keys[:1]).write(), If.ABSENT
            )
        else:
            stored = _Stored.read(item)
            bundle, opened_by = _open(stored, keys)
            if stored.knows(keys[0], keys):
                return _opened(stored, bundle, item.etag, keys, opened_by)
            if stored.closing or len(stored.locks) == _MOST_LOCKS:
                raise WrongKeyError("a rotation of this database is under way: finish it before you bring another key")
            put = Put(
                RING, stored.locked(SecretBytes(bundle + urandom(_BYTES)), (keys[0], opened_by[0])).write(), item.etag
            )
        try:
            await driver.apply([put])
        except ConflictError:
            continue  # someone else opened the same new database, or brought the same new key
    raise WrongKeyError("the key ring of this database keeps changing: open it when the rotation has finished")


async def _item(driver: Driver) -> Item | None:
    (item,) = await driver.get([RING])
    return item


async def _expect_a_new_place(driver: Driver) -> None:
    (manifest,) = await layers(driver)[-1].get([MANIFEST])
    if manifest is None and not (await driver.scan(Range(limit=1, values=False))).items:
        return
    if await _item(driver) is None:  # otherwise someone else has opened the same new database meanwhile
        raise WrongStackError(
            "this database was written without encryption, or lost its key ring: open it without encrypted(), copy its "
            "contents to a new database, or restore the item 'keyring'"
        )


def _open(stored: _Stored, keys: Sequence[bytes]) -> tuple[bytes, tuple[bytes, ...]]:
    found = stored.unlock(len(stored.locks) - 1, keys)
    if found is not None:
        return found
    if any(stored.knows(key, keys) for key in keys):
        raise WrongKeyError(
            "this encryption key is an older one: the database was rotated to a newer key; open it with that one"
        )
    if len(stored.locks) > 1:
        raise WrongKeyError(
            "this database was not encrypted with this key, or a rotation to it is under way: use the right one, and until "
            "the rotation has finished the key before it too, in old_keys (nothing was read or changed)"
        )
    raise WrongKeyError(
        "this database was not encrypted with this key: use the right one (nothing was read or changed)"
    )


def _opened(
    stored: _Stored, bundle: bytes, etag: Etag, keys: tuple[bytes, ...], opened_by: tuple[bytes, ...]
) -> KeyRing:
    index_key, *value_keys = _parts(bundle)
    digests = KeyDigests(stored.derive(index_key, b"keys"))
    sealer = Sealer([stored.derive(key, b"values") for key in value_keys], stored.first)
    return KeyRing(digests, sealer, etag, stored, keys, opened_by, bundle)


def _numbered(stored: _Stored, bundle: bytes) -> dict[int, bytes]:
    """Return the value keys by number, and the index key as number 0."""
    index_key, *value_keys = _parts(bundle)
    return {0: index_key} | dict(enumerate(value_keys, stored.first))


def _parts(bundle: bytes) -> list[bytes]:
    return [SecretBytes(bundle[start : start + _BYTES]) for start in range(0, len(bundle), _BYTES)]


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text)


def _unreadable() -> CorruptDataError:
    return CorruptDataError(
        "the key ring of this database (the item 'keyring') cannot be read: restore it from a backup"
    )
