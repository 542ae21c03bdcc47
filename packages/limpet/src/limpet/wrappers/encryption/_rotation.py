"""Key rotation, while everyone continues to read and write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pydantic_core import from_json, to_json

from ..._errors import ConfigurationError, ConflictError, CorruptDataError, WrongKeyError
from ...driver import Delete, Driver, Item, Key, Put, Range, is_fence, lease_of
from .._reserved import PROGRESS, is_ours
from .._wrapper import layers
from ._encrypted import Encrypted
from ._resealing import seal_anew
from ._ring_guard import PROOF_SECONDS

__all__ = ["Rotation", "rotate"]

_PAGE = 256
_SOON_MS = 60 * 60 * 1000
_NOTICED_SECONDS = 3 * PROOF_SECONDS
"""How long a writer may use an older value key after a complete rotation was announced:

`PROOF_SECONDS` and a margin.
"""
_LEASE_SECONDS = 30.0
"""How long a complete rotation waits for leases, and for items that expire, before it takes them."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """How far a rotation has come."""

    examined: int = 0
    """Items examined by this run. Interrupted runs before it have examined others."""
    sealed: int = 0
    """Values encrypted again by this run."""


async def rotate(
    driver: Driver, *, reseal: bool = False, progress: Callable[[Rotation], None] | None = None
) -> Rotation:
    """Encrypt again what older keys encrypted, then remove these keys from the key ring; return what was done.

    `driver` is open and has an `Encrypted` in it, with the new key as `key` and the one before in `old_keys`. Readers
    and writers can continue. The next run continues an interrupted one. Etags change; expiries, keys and times of
    writing do not: the key that digests text is encrypted again, not replaced. Left alone, and still readable: what
    expires within the hour, and the fences of leases, so that their owners keep them.

    With `reseal`, nothing is left: afterwards, what is encrypted under an older key is refused, so who knows an old key
    can forge nothing. Services that have only the old key can write no more as soon as it begins. It waits 3 seconds
    for all others to notice, and up to 30 for leases; whoever has one after that loses it (`LeaseLostError`). A
    rotation that was begun with `reseal` is finished with it.

    `progress` is called after each page of items. Raises `WrongKeyError` if `key` is an older key of this database,
    `ConfigurationError` if `reseal` comes after a rotation to the same key without it, and `CorruptDataError` if a
    value cannot be decrypted: then the older keys stay on the ring.
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
        complete = reseal or encrypted.ring.is_closing
        if complete and encrypted.ring.locks > 1:
            await _announce(encrypted)
        elif reseal and encrypted.ring.sealer.first < encrypted.ring.sealer.generation:
            raise ConfigurationError(
                "this database was rotated to this key before, without reseal, and the older keys still open what they encrypted: "
                "generate another key ('limpet keygen'), and rotate to that one with reseal"
            )
        done, left = await _pass(encrypted, done, progress, all=False, free=complete)
        if complete and left:
            await asyncio.sleep(_LEASE_SECONDS)
            done, _ = await _pass(encrypted, done, progress, all=True, free=True)
        await encrypted.inner.apply([Delete(PROGRESS)])
        if encrypted.ring.locks == 1:
            return done
        try:
            await encrypted.inner.apply([encrypted.ring.without_older_locks(complete=complete)])
        except ConflictError:
            await encrypted.reload()  # an even newer key was added: start over with that one
            continue
        await encrypted.reload()
        return done


async def _announce(encrypted: Encrypted) -> None:
    """Announce in the key ring that older value keys end, and return when every writer must know."""
    while not encrypted.ring.is_closing:
        with suppress(ConflictError):  # another key may have been added
            await encrypted.inner.apply([encrypted.ring.closing()])
        await encrypted.reload()
    await asyncio.sleep(_NOTICED_SECONDS)


async def _pass(
    encrypted: Encrypted, done: Rotation, progress: Callable[[Rotation], None] | None, *, all: bool, free: bool
) -> tuple[Rotation, bool]:
    """Encrypt everything again, except what expires soon and the fences of leases.

    `free`: of the fences, only leave those whose lease is taken. `all`: leave nothing. Returns whether anything
    was encrypted, or may have been.
    """
    after = None if all else await _resumed(encrypted)
    left = after is not None
    while True:
        page = await encrypted.inner.scan(Range(after=after, limit=_PAGE))
        due = [item for item in page.items if _is_due(encrypted, item)]
        chosen = due if all else await _chosen(encrypted, due, free)
        left = left or len(chosen) < len(due)
        sealed = await seal_anew(encrypted.inner, encrypted.ring, chosen, lambda item: _is_due(encrypted, item))
        done = Rotation(done.examined + len(page.items), done.sealed + sealed)
        if progress is not None:
            progress(done)
        after = page.next
        if after is None:
            return done, left
        if not all:
            await encrypted.inner.apply([_mark(encrypted, after)])


async def _chosen(encrypted: Encrypted, due: Sequence[Item], free: bool) -> list[Item]:
    lasting = [item for item in due if item.ttl_ms is None or item.ttl_ms >= _SOON_MS]
    fences = {item.key for item in lasting if is_fence(item.key)}
    if free and fences:
        leases = {
            at: encrypted.stored_key(lease_of(encrypted.unseal(item).key))
            for item in lasting
            if (at := item.key) in fences
        }
        found = await encrypted.inner.get(list(leases.values()), values=False)
        fences = {at for at, lease in zip(leases, found, strict=True) if lease is not None}
    return [item for item in lasting if item.key not in fences]


def _mark(encrypted: Encrypted, after: Key) -> Put:
    """Record how far a pass has come. Encrypted, or someone could make the next one skip items."""
    sealer = encrypted.ring.sealer
    mark = Put(PROGRESS, to_json({"generation": sealer.generation, "after": after}).decode())
    return Put(PROGRESS, sealer.seal(mark, PROGRESS), etag=mark.etag)


async def _resumed(encrypted: Encrypted) -> Key | None:
    (item,) = await encrypted.inner.get([PROGRESS])
    sealer = encrypted.ring.sealer
    try:
        match from_json(sealer.unseal(item).value or "") if item is not None else None:
            case {"generation": int(of), "after": str(after)} if of == sealer.generation:
                return after
    except (ValueError, CorruptDataError, WrongKeyError):
        pass  # then from the start
    return None


def _is_due(encrypted: Encrypted, item: Item) -> bool:
    return not is_ours(item.key) and encrypted.ring.sealer.is_older(item.value)
