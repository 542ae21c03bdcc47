"""Encryption of everything that users typed: values are encrypted, text in keys is digested."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from time import monotonic
from typing import TYPE_CHECKING, ClassVar

from ..._errors import (
    ClosedError,
    ConfigurationError,
    ConflictError,
    CorruptDataError,
    InvalidKeyError,
    LimpetError,
    OutcomeUnknownError,
    WrongKeyError,
)
from ..._secrets import hidden
from ...driver import (
    Append,
    Capabilities,
    Delete,
    Driver,
    Item,
    Key,
    Outcome,
    Page,
    Put,
    Range,
    Unit,
    Value,
    counter_key,
    is_counter,
    log_of,
    number,
)
from ...driver.kit import forked_since, scan_pages, validate_base, validate_get, validate_range
from .._reserved import MANIFEST, RING, is_ours
from .._value_wrapper import ValueWrapper
from .._wrapper import ensure_owner
from ._key_digests import is_digested
from ._key_sources import KeySource, find_key, key_in_environment
from ._under_way import UnderWay

if TYPE_CHECKING:
    from ._keyring import KeyRing
    from ._ring_guard import RingGuard

__all__ = ["Encrypted", "encrypted"]

_logger = logging.getLogger("limpet")

_DIGITS = 16


class Encrypted(ValueWrapper):
    """Encrypts values with AES-256-GCM under a key of 32 bytes, and digests the text segments of keys.

    A value is bound to its key and etag: if it is moved, it raises `CorruptDataError`. These stay readable: names and
    numbers in keys, sizes, times, etags, and the counters of logs, which backends count up themselves. Text is listed in
    arbitrary order (`capabilities.text_order` is false). `old_keys` open what an earlier key encrypted, until
    `rotate` has encrypted it again. The default for `key` is `LIMPET_ENCRYPTION_KEY`, or the file in
    `LIMPET_ENCRYPTION_KEY_FILE`, and one old key likewise from `LIMPET_ENCRYPTION_OLD_KEY`.

    `open` raises `ConfigurationError` for an invalid key, `WrongKeyError` if the database was encrypted with another, and
    `WrongStackError` if it was written without encryption; in these cases nothing is written. Raises
    `ConfigurationError` without the extra `limpet[encryption]`.
    """

    stored_as: ClassVar[str | None] = "encrypted"
    rank: ClassVar[int | None] = 2
    added = 1100

    def __init__(self, inner: Driver, *, key: KeySource | None = None, old_keys: Sequence[KeySource] = ()) -> None:
        key = hidden(key)
        if not isinstance(old_keys, str | bytes) and not callable(old_keys):
            old_keys = [hidden(old) for old in old_keys]
        super().__init__(inner)
        if find_spec("cryptography") is None:
            raise ConfigurationError(
                "encrypted() needs the extra limpet[encryption]: install it from the same source as limpet"
            )
        if isinstance(old_keys, str | bytes) or callable(old_keys):
            old_keys = ()
            raise ConfigurationError("old_keys must be a list: put a single old key in a list")
        self._sources = (key, tuple(old_keys))
        self._keys: tuple[bytes, ...] = ()
        self._opened_ring: KeyRing | None = None
        self._guard: RingGuard | None = None
        self._lost: WrongKeyError | None = None
        """Why nothing can be read or written any more: the place was made anew under a key that is not ours."""
        self._under_way = UnderWay()
        self._proving: asyncio.Task[None] | None = None
        self._process = os.getpid()

    # Open and close.

    def _declared(self, inner: Capabilities) -> Capabilities:
        return replace(
            inner,
            text_order=False,
            max_value_bytes=inner.max_value_bytes - self.added,
            # An eighth is enough for what sealing adds to all but batches of very many tiny items: the driver refuses those.
            max_batch_bytes=inner.max_batch_bytes - min(self.added * inner.max_writes, inner.max_batch_bytes // 8),
        )

    @property
    def ring(self) -> KeyRing:
        """The keys in use, since `open`."""
        if self._opened_ring is None:
            raise ClosedError(f"{type(self).__name__} is not open yet: 'await driver.open()' or 'async with driver:'")
        if self._lost is not None:
            raise WrongKeyError(str(self._lost)) from self._lost
        return self._opened_ring

    async def open(self) -> None:
        was_open = self.inner.is_open
        await super().open()
        if self._opened_ring is not None:
            return
        try:
            self._keys = await _find_keys(*self._sources)
            await self.reload()
        except BaseException:
            if not was_open:
                await self.inner.close()
            raise

    async def close(self) -> None:
        ensure_owner(self)
        if forked_since(self._process):  # what is under way is so in the parent
            await super().close()
        else:
            await self._under_way.end(self._close)

    async def _close(self) -> None:
        if self._proving is not None and not self._proving.done():
            self._proving.cancel()
            await asyncio.wait([self._proving])
            if self.inner.is_open:
                await self._prove_deferred(self.ring)
        await super().close()

    async def reload(self) -> None:
        """Read the key ring again: a rotation elsewhere may have brought a newer key."""
        from ._keyring import open_ring  # here: importing limpet imports no cryptography
        from ._ring_guard import RingGuard

        self._opened_ring = await open_ring(self.inner, self._keys)
        self._guard = self._guard or RingGuard(self.inner)

    def learn_manifest(self, manifest: Value) -> None:
        """What the manifest of this database says, so that it can be put back with the key ring."""
        if self._guard is not None:
            self._guard.manifest = manifest

    # What is stored.

    def stored_key(self, key: Key) -> Key:
        if is_ours(key):
            raise InvalidKeyError(f"{RING!r} is reserved for the keys of an encrypted database: use another name")
        return self.ring.digests.stored(key)

    def seal(self, put: Put) -> Put:
        stored = self.stored_key(put.key)
        value = put.value if _is_readable(put) else self.ring.sealer.seal(put, stored)
        return Put(stored, value, put.cond, put.ttl_ms, put.etag)

    def seal_entry(self, put: Put) -> Put:
        stored = self.stored_key(put.key)
        if not self.ring.digests.takes_entries(put.key):
            raise InvalidKeyError(
                f"{put.key[:60]!r}... is too long for a log in an encrypted database: use fewer segments"
            )
        return Put(stored, self.ring.sealer.seal(put, stored, entry=True), None, put.ttl_ms, put.etag)

    def unseal(self, item: Item) -> Item:
        if _is_readable(item):
            return item
        return self.ring.sealer.unseal(item)

    # The verbs that have to know more.

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        validate_get(keys, self.capabilities)
        moved_on = self.ring.sealer.generation > 1  # then the time of writing may lie beside the value
        found = await self.inner.get([self.stored_key(key) for key in keys], values=values or moved_on)
        try:
            return [self._as_asked(item, key, values) for item, key in zip(found, keys, strict=True)]
        except WrongKeyError:
            await self.reload()
            return [self._as_asked(item, key, values) for item, key in zip(found, keys, strict=True)]

    async def scan(self, range: Range) -> Page:
        validate_range(range)
        digests = self.ring.digests
        stored, mixed = digests.base(range.base)
        page = await self.inner.scan(
            replace(
                range,
                base=stored,
                after=None if range.after is None else digests.stored(range.after),
                before=None if range.before is None else digests.stored(range.before),
                values=True,  # the true key lies beside the value
            )
        )
        items = await self._with_true_keys([item for item in page.items if not is_ours(item.key)])
        if mixed:
            items = [item for item in items if item.key.startswith(f"{range.base}!")]
        return Page(items if range.values else [replace(item, value=None) for item in items], page.next)

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        ring, guard = self.ring, self._guard
        assert guard is not None  # it comes with the ring
        with self._under_way:
            outcomes = await super().commit(units)
            if guard.proved_until > monotonic():
                if self._proving is None or self._proving.done():
                    self._proving = asyncio.create_task(self._prove_in_time(ring))
                return outcomes
            written = {
                at: (unit, outcome)
                for at, (unit, outcome) in enumerate(zip(units, outcomes, strict=True))
                if not isinstance(outcome, Exception) and _puts(unit)
            }
            if written:
                try:
                    await self._prove(ring, list(written.values()))
                except LimpetError as error:
                    outcomes = [error if at in written else outcome for at, outcome in enumerate(outcomes)]
        return outcomes

    async def _prove_in_time(self, ring: KeyRing) -> None:
        """Once the last proof no longer does, for the writes that leaned on it."""
        assert self._guard is not None
        await asyncio.sleep(max(0.0, self._guard.proved_until - monotonic()))
        await self._prove_deferred(ring)

    async def _prove_deferred(self, ring: KeyRing) -> None:
        try:
            await self._prove(ring, [])
        except LimpetError as error:
            _logger.error("what was written during the last second may be encrypted with keys that are lost: %s", error)

    async def _prove(self, ring: KeyRing, written: Sequence[tuple[Unit, Outcome]]) -> None:
        """Return once the place is known to have the keys that sealed what was written; else remove that and raise."""
        assert self._guard is not None  # it comes with the ring
        try:
            if await self._guard.holds(ring):
                return
            deletes = [[delete] for unit, first in written for delete in _undoing(ring, unit, first)]
            for outcome in await self.inner.commit(deletes):
                if isinstance(outcome, Exception) and not isinstance(outcome, ConflictError):
                    raise outcome
            await self.reload()
        except LimpetError as error:
            if isinstance(error, WrongKeyError):
                self._lost = error
            raise OutcomeUnknownError(
                f"the write was sent, but it is unknown whether this database still has the keys that encrypted it: {error}. "
                "Read it back before you write it again"
            ) from error
        raise OutcomeUnknownError(
            "this database came back empty and was created again with other keys during this write; what was written with "
            "the lost keys was removed. Read it back before you write it again"
        )

    async def clear(self, base: Key) -> int:
        validate_base(base)
        stored, mixed = self.ring.digests.base(base)
        if not mixed and base:
            return await self.inner.clear(stored)
        removed = 0  # one page after the other: what else lies there stays, and so does the key ring
        some = Range(base, limit=1 if self.capabilities.atomic == "item" else 256, values=False)
        async for page in scan_pages(self.scan, some):
            await self.apply([Delete(item.key) for item in page.items])
            removed += len(page.items)
        return removed

    async def watch(self, base: Key) -> AsyncIterator[frozenset[Key] | None]:
        validate_base(base)
        hints = self.inner.watch(self.ring.digests.base(base)[0])
        try:
            async for hint in hints:
                named = None if hint is None else await self._named([key for key in hint if not is_ours(key)])
                if named is None:
                    yield None
                elif below := frozenset(key for key in named if not base or key.startswith(f"{base}!")):
                    yield below
        finally:
            if isinstance(hints, AsyncGenerator):
                await hints.aclose()

    async def _named(self, keys: Sequence[Key]) -> Sequence[Key] | None:
        """The true keys of what changed; `None` where some were deleted by others, who alone knew them."""
        known = [self.ring.digests.true_key(key) for key in keys]
        unknown = [key for key, true_key in zip(keys, known, strict=True) if true_key is None]
        named = [key for key in known if key is not None]
        if not unknown:
            return named
        if len(unknown) > self.capabilities.max_keys:
            return None
        try:
            found = await self._with_true_keys([item for item in await self.inner.get(unknown) if item is not None])
        except (CorruptDataError, WrongKeyError):
            return None
        named += [item.key for item in found]
        return None if len(named) < len(keys) or any(map(is_digested, named)) else named

    def _as_asked(self, item: Item | None, key: Key, values: bool) -> Item | None:
        if item is None:
            return None
        value, written_at = item.value, item.updated_at
        if value is not None and not _is_readable(item):
            try:
                opened = self.ring.sealer.unseal(item)
                value, written_at = opened.value, opened.updated_at
            except CorruptDataError:
                if values:
                    raise
        return Item(key, value if values else None, item.etag, written_at, item.ttl_ms)

    async def _unsealed(self, sealed: Sequence[Item]) -> Sequence[Item]:
        try:
            return [self.unseal(item) for item in sealed]
        except WrongKeyError:
            await self.reload()
            return [self.unseal(item) for item in sealed]

    async def _with_true_keys(self, sealed: Sequence[Item]) -> Sequence[Item]:
        """Unsealed items. A counter in the clear does not tell its true key: the head of its log does, if it is there."""
        items = await self._unsealed(sealed)
        nameless = [item.key for item in items if is_digested(item.key)]
        true_keys = {key: true_key for key in nameless if (true_key := self.ring.digests.true_key(key)) is not None}
        logs = [log_of(key) for key in nameless if key not in true_keys]
        for start in range(0, len(logs), self.capabilities.max_keys):
            found = await self.inner.get(logs[start : start + self.capabilities.max_keys])
            heads = [head for head in found if head is not None]
            for head, opened in zip(heads, await self._unsealed(heads), strict=True):
                true_keys[counter_key(head.key)] = counter_key(opened.key)
        return [replace(item, key=true_keys[item.key]) if item.key in true_keys else item for item in items]


def _puts(unit: Unit) -> bool:
    return isinstance(unit, Append) or any(isinstance(write, Put) for write in unit)


def _undoing(ring: KeyRing, unit: Unit, first: Outcome) -> list[Delete]:
    """What would remove the puts of a unit that was written, and nothing else."""
    stored = ring.digests.stored
    if isinstance(unit, Append):
        assert isinstance(first, int)
        return [Delete(f"{stored(put.key)}!{number(n)}", put.etag) for n, put in enumerate(unit.puts, first)]
    return [Delete(stored(write.key), write.etag) for write in unit if isinstance(write, Put)]


def encrypted(*, key: KeySource | None = None, old_keys: Sequence[KeySource] = ()) -> Callable[[Driver], Driver]:
    """For `wrappers=`: an `Encrypted` around the driver."""
    key = hidden(key)
    if not isinstance(old_keys, str | bytes) and not callable(old_keys):
        old_keys = [hidden(old) for old in old_keys]
    return lambda driver: Encrypted(driver, key=key, old_keys=old_keys)


async def _find_keys(key: KeySource | None, old_keys: Sequence[KeySource]) -> tuple[bytes, ...]:
    first = key if key is not None else key_in_environment()
    if first is None:
        raise ConfigurationError(
            "encrypted() has no key: pass key=, or set LIMPET_ENCRYPTION_KEY or LIMPET_ENCRYPTION_KEY_FILE"
        )
    if not old_keys and (old := key_in_environment("LIMPET_ENCRYPTION_OLD_KEY")) is not None:
        old_keys = [old]
    return tuple([await find_key(source) for source in (first, *old_keys)])


def _is_readable(item: Item | Put) -> bool:
    """Whether a value is one of those that lie in the clear: sealed ones are always bytes."""
    key, value = item.key, item.value
    if not isinstance(value, str):
        return False
    if is_counter(key):
        return 0 < len(value) <= _DIGITS and value.isdecimal() and value.isascii()
    return key == MANIFEST or (not value and key.startswith("health!"))
