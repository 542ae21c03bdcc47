"""Key rotation, while everyone continues to read and write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic_core import from_json, to_json

from ..._errors import ConfigurationError, ConflictError, WrongKeyError
from ...driver import KEEP, Delete, Driver, Item, Key, Put, Range, is_fence
from .._reserved import PROGRESS, is_ours
from .._wrapper import layers
from ._encrypted import Encrypted

__all__ = ["Rotation", "rotate"]

_PAGE = 256
_SOON_MS = 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Rotation:
    """How far a rotation has come."""

    examined: int = 0
    """Items examined by this run; an interrupted run before it has examined others."""
    sealed: int = 0
    """Values that this run encrypted again."""


async def rotate(driver: Driver, *, progress: Callable[[Rotation], None] | None = None) -> Rotation:
    """Encrypt again what older keys encrypted, then remove these keys from the key ring; return what was done.

    `driver` is open and has an `Encrypted` in it, with the new key as `key` and the one before in `old_keys`. Readers
    and writers can continue. The next run continues an interrupted one. Etags change; expiries, keys and times
    of writing do not: the key that digests text is encrypted again, not replaced. Left alone, and still readable: what expires
    within the hour, and the fences of leases, so that their owners keep them.

    `progress` is called after each page of items. Raises `WrongKeyError` if `key` is an older key of this database, and
    `CorruptDataError` if a value cannot be decrypted: then the older keys stay on the ring.
    """
    encrypted = next((layer for layer in layers(driver) if isinstance(layer, Encrypted)), None)
    if encrypted is None:
        raise ConfigurationError(
            "there is no encryption to rotate: open the database with encrypted(key=..., old_keys=[...])"
        )
    await encrypted.reload()
    if not encrypted.ring.leads:
        raise WrongKeyError(
            "the new key is an older one of this database, and a database cannot go back: generate a new one ('limpet keygen'), "
            "or swap the two keys"
        )
    done = Rotation()
    while True:
        generation = encrypted.ring.sealer.generation
        after = await _resumed(encrypted.inner, generation)
        while True:
            page = await encrypted.inner.scan(Range(after=after, limit=_PAGE))
            sealed = await _seal_anew(encrypted, [item for item in page.items if _is_due(encrypted, item)])
            done = Rotation(done.examined + len(page.items), done.sealed + sealed)
            if progress is not None:
                progress(done)
            after = page.next
            if after is None:
                break
            mark = to_json({"generation": generation, "after": after}).decode()
            await encrypted.inner.apply([Put(PROGRESS, mark)])
        await encrypted.inner.apply([Delete(PROGRESS)])
        if encrypted.ring.locks == 1:
            return done
        try:
            await encrypted.inner.apply([encrypted.ring.without_older_locks()])
        except ConflictError:
            await encrypted.reload()  # an even newer key has come: everything once more, under that one
            continue
        await encrypted.reload()
        return done


async def _resumed(inner: Driver, generation: int) -> Key | None:
    (item,) = await inner.get([PROGRESS])
    try:
        match from_json(item.value or "") if item is not None else None:
            case {"generation": int(of), "after": str(after)} if of == generation:
                return after
    except ValueError:
        pass  # from the start, then
    return None


def _is_due(encrypted: Encrypted, item: Item) -> bool:
    if is_ours(item.key) or is_fence(item.key) or (item.ttl_ms is not None and item.ttl_ms < _SOON_MS):
        return False
    return encrypted.ring.sealer.is_older(item.value)


async def _seal_anew(encrypted: Encrypted, items: Sequence[Item]) -> int:
    """Seal items under the newest key unless somebody else has written them meanwhile, with whichever key."""
    sealed = 0
    while items:
        batches = [[_anew(encrypted, item)] for item in items]
        again: list[Key] = []
        for item, outcome in zip(items, await encrypted.inner.commit(batches), strict=True):
            if outcome is None:
                sealed += 1
            elif isinstance(outcome, ConflictError):
                again.append(item.key)
            elif isinstance(outcome, Exception):
                raise outcome
        found = await encrypted.inner.get(again) if again else []
        items = [item for item in found if item is not None and _is_due(encrypted, item)]
    return sealed


def _anew(encrypted: Encrypted, item: Item) -> Put:
    opened = encrypted.ring.sealer.unseal(item)
    assert opened.value is not None  # a page was read with values
    put = Put(opened.key, opened.value, item.etag, KEEP)
    stored = encrypted.stored_key(put.key)
    sealed = encrypted.ring.sealer.seal(put, stored, written_at=opened.updated_at)
    return Put(stored, sealed, put.cond, put.ttl_ms, put.etag)
