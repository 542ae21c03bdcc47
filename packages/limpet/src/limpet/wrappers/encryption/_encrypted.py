"""Encryption of everything that users typed: values are encrypted, and text in keys is digested."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
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
from ...driver import (
    KEEP,
    Append,
    Batch,
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
    Write,
    counter_key,
)
from ...driver.kit import forked_since, scan_pages, validate_base, validate_get, validate_range, validate_unit
from .._reserved import RING, is_ours, is_readable
from .._value_wrapper import ValueWrapper
from .._wrapper import ensure_owner
from ._appending import Appending
from ._key_digests import is_digested
from ._key_sources import KeySource, find_keys, hide
from ._under_way import UnderWay

if TYPE_CHECKING:
    from ._keyring import KeyRing
    from ._ring_guard import RingGuard

__all__ = ["Encrypted", "encrypted"]

_logger = logging.getLogger("limpet")

_COUNTER = counter_key("")


class Encrypted(ValueWrapper):
    """Encrypts values with AES-256-GCM under a key of 32 bytes, and digests the text segments of keys.

    A value is bound to its key and etag: if it is moved, it raises `CorruptDataError`. These stay readable: names and
    numbers in keys, sizes, times and etags. Text is listed in arbitrary order (`capabilities.text_order` is false), and
    the numbers of logs are compare-and-set (`capabilities.append` is false), because entries are bound to them.
    `old_keys` open what an earlier key encrypted, until `rotate` has encrypted it again. The default for `key` is
    `LIMPET_ENCRYPTION_KEY`, or the file in `LIMPET_ENCRYPTION_KEY_FILE`, and one old key likewise from
    `LIMPET_ENCRYPTION_OLD_KEY`.

    `open` raises `ConfigurationError` for an invalid key, `WrongKeyError` if the database was encrypted with another,
    and `WrongStackError` if it was written without encryption; in these cases nothing is written. Raises
    `ConfigurationError` without the extra `limpet[encryption]`.
    """

    stored_as: ClassVar[str | None] = "encrypted"
    rank: ClassVar[int | None] = 2
    added = 1100

    def __init__(self, inner: Driver, *, key: KeySource | None = None, old_keys: Sequence[KeySource] = ()) -> None:
        key, old_keys = hide(key, old_keys)
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
        self._appending: Appending | None = None
        self._lost: WrongKeyError | None = None
        """Why nothing can be read or written any more: the database was recreated under a key that we do not have."""
        self._under_way = UnderWay()
        self._proving: asyncio.Task[None] | None = None
        self._process = os.getpid()

    # Opening and closing.

    def _declared(self, inner: Capabilities) -> Capabilities:
        return replace(
            inner,
            text_order=False,
            append=False,
            max_value_bytes=inner.max_value_bytes - self.added,
            # An eighth is enough, except for batches of very many tiny items: the driver refuses those.
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
            self._keys = await find_keys(*self._sources)
            await self.reload()
        except BaseException:
            if not was_open:
                await self.inner.close()
            raise

    async def close(self) -> None:
        ensure_owner(self)
        if forked_since(self._process):  # then its calls are the parent's
            await super().close()
        else:
            await self._under_way.end(self._close)

    async def _close(self) -> None:
        if self._proving is not None and not self._proving.done():
            self._proving.cancel()
            await asyncio.wait([self._proving])
            if self.inner.is_open:
                await self._prove_deferred(self.ring)
        if self._appending is not None:
            await self._appending.drained()
        await super().close()

    async def reload(self) -> None:
        """Read the key ring again: a rotation by another process may have added a newer key."""
        from ._keyring import open_ring  # here, because importing limpet must not import cryptography
        from ._ring_guard import RingGuard

        self._opened_ring = await open_ring(self.inner, self._keys)
        if self._guard is None:
            self._guard = RingGuard(self.inner)
            self._appending = Appending(self._commit_numbered, self.get, self.capabilities)

    def learn_manifest(self, manifest: Value) -> None:
        """Read this database's manifest, so that it can be restored with the key ring."""
        if self._guard is not None:
            self._guard.manifest = manifest

    # What is stored.

    def stored_key(self, key: Key) -> Key:
        if is_ours(key):
            raise InvalidKeyError(f"{RING!r} is reserved for the keys of an encrypted database: use another name")
        return self.ring.digests.stored(key)

    def seal(self, put: Put) -> Put:
        stored = self.stored_key(put.key)
        value = put.value if is_readable(put) else self.ring.sealer.seal(put, stored)
        if put.key.endswith(_COUNTER) and self._appending is not None:
            self._appending.expect(put)
        return Put(stored, value, put.cond, put.ttl_ms, put.etag)

    def unseal(self, item: Item) -> Item:
        if is_readable(item):
            return item
        return self.ring.sealer.unseal(item)

    # Verbs that need more than values.

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        validate_get(keys, self.capabilities)
        moved_on = self.ring.sealer.generation > 1  # then the write time may be stored next to the value
        found = await self.inner.get([self.stored_key(key) for key in keys], values=values or moved_on)
        try:
            return [self._as_asked(item, key, values) for item, key in zip(found, keys, strict=True)]
        except WrongKeyError:
            await self.reload()
            return [self._as_asked(item, key, values, known=True) for item, key in zip(found, keys, strict=True)]

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
                values=True,  # the real key is stored next to the value
            )
        )
        items = await self._unsealed([item for item in page.items if not is_ours(item.key)])
        if mixed:
            items = [item for item in items if item.key.startswith(f"{range.base}!")]
        return Page(items if range.values else [replace(item, value=None) for item in items], page.next)

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        ring, guard = self.ring, self._guard
        assert guard is not None  # exists as long as the ring
        with self._under_way:
            outcomes = await (self._commit_mixed(units) if Append in map(type, units) else super().commit(units))
            made = getattr(guard.backend, "connections_made", 0)
            if guard.proved_until > monotonic() and made == guard.proved_over and ring is self._opened_ring:
                if self._proving is None or self._proving.done():
                    self._proving = asyncio.create_task(self._prove_in_time(ring))
                return outcomes
            written = {
                at: (unit, outcome)
                for at, (unit, outcome) in enumerate(zip(units, outcomes, strict=True))
                if not isinstance(outcome, Exception) and self._put([(unit, outcome)])
            }
            if written:
                try:
                    await self._prove(ring, list(written.values()))
                except LimpetError as error:
                    outcomes = [error if at in written else outcome for at, outcome in enumerate(outcomes)]
        return outcomes

    async def _commit_mixed(self, units: Sequence[Unit]) -> list[Outcome]:
        """Commit batches, and then appends, which are turned into batches too."""
        outcomes: list[Outcome] = [None] * len(units)
        appends = {at: unit for at, unit in enumerate(units) if isinstance(unit, Append)}
        if others := [at for at in range(len(units)) if at not in appends]:
            for at, outcome in zip(others, await super().commit([units[at] for at in others]), strict=True):
                outcomes[at] = outcome
        sized: dict[int, tuple[Append, int]] = {}
        for at, unit in appends.items():
            try:
                sized[at] = unit, self._validated(unit)
            except LimpetError as error:
                outcomes[at] = error
        assert self._appending is not None  # exists as long as the ring
        for at, outcome in zip(sized, await self._appending.append([*sized.values()]), strict=True):
            outcomes[at] = outcome
        return outcomes

    def _validated(self, unit: Append) -> int:
        size = validate_unit(unit, self.capabilities)
        for put in unit.puts:
            if not self.ring.digests.takes_entries(put.key):
                raise InvalidKeyError(
                    f"{put.key[:60]!r}... is too long for a log in an encrypted database: use fewer segments"
                )
        return size

    async def _commit_numbered(self, batches: Sequence[Batch]) -> list[Outcome]:
        """Commit appends that are batches now. They were validated before, and the limits leave room for the rest."""
        outcomes: list[Outcome] = [None] * len(batches)
        sealed: dict[int, Batch] = {}
        for at, batch in enumerate(batches):
            try:
                sealed[at] = [self._sealed_write(write) for write in batch]
            except LimpetError as error:
                outcomes[at] = error
        for at, outcome in zip(sealed, await self.inner.commit(list(sealed.values())), strict=True):
            outcomes[at] = self._reported(outcome, batches[at]) if isinstance(outcome, ConflictError) else outcome
        return outcomes

    async def _prove_in_time(self, ring: KeyRing) -> None:
        """Check again when the last check expires, for the writes that relied on it."""
        assert self._guard is not None
        await asyncio.sleep(max(0.0, self._guard.proved_until - monotonic()))
        await self._prove_deferred(ring)

    async def _prove_deferred(self, ring: KeyRing) -> None:
        try:
            await self._prove(ring, [])
        except LimpetError as error:
            _logger.error("what was written during the last second may be encrypted with keys that are lost: %s", error)

    async def _prove(self, ring: KeyRing, written: Sequence[tuple[Unit, Outcome]]) -> None:
        """Return once the database is known to have the keys that encrypted a write; otherwise undo it and raise.

        If a complete rotation is running, it may have passed these items already, so they are encrypted again.
        """
        assert self._guard is not None  # exists as long as the ring
        try:
            while (standing := await self._guard.standing(ring)) == "left":
                await self.reload()
                ring = self.ring
                await self._each(self.seal(Put(put.key, put.value, put.etag, KEEP)) for put in self._put(written))
            if standing == "covers":
                if self._guard.take_changed():
                    with suppress(WrongKeyError):  # a process that only has the older key continues with that
                        await self.reload()
                return
            await self._each(Delete(ring.digests.stored(put.key), put.etag) for put in self._put(written))
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

    def _put(self, written: Sequence[tuple[Unit, Outcome]]) -> list[Put]:
        assert self._appending is not None  # exists as long as the ring
        return [put for unit, outcome in written for put in self._appending.puts(unit, outcome)]

    async def _each(self, writes: Iterable[Write]) -> None:
        """Each on its own, unless someone else has written there meanwhile."""
        for outcome in await self.inner.commit([[write] for write in writes]):
            if isinstance(outcome, Exception) and not isinstance(outcome, ConflictError):
                raise outcome

    async def clear(self, base: Key) -> int:
        validate_base(base)
        stored, mixed = self.ring.digests.base(base)
        if not mixed and base:
            return await self.inner.clear(stored)
        removed = 0  # one page at a time: other items there stay, and so does the key ring
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
        """Return the real keys of what changed; `None` if others deleted some, whose real keys only they knew."""
        known = [self.ring.digests.true_key(key) for key in keys]
        unknown = [key for key, true_key in zip(keys, known, strict=True) if true_key is None]
        named = [key for key in known if key is not None]
        if not unknown:
            return named
        if len(unknown) > self.capabilities.max_keys:
            return None
        try:
            found = await self._unsealed([item for item in await self.inner.get(unknown) if item is not None])
        except (CorruptDataError, WrongKeyError):
            return None
        named += [item.key for item in found]
        return None if len(named) < len(keys) or any(map(is_digested, named)) else named

    def _as_asked(self, item: Item | None, key: Key, values: bool, *, known: bool = False) -> Item | None:
        if item is None:
            return None
        value, written_at = item.value, item.updated_at
        if value is not None and not is_readable(item):
            try:
                opened = self.ring.sealer.unseal(item, known=known)
                value, written_at = opened.value, opened.updated_at
                if key.endswith(_COUNTER) and self._appending is not None:
                    self._appending.saw(key, opened)
            except CorruptDataError:
                if values:
                    raise
        return Item(key, value if values else None, item.etag, written_at, item.ttl_ms)

    async def _unsealed(self, sealed: Sequence[Item]) -> Sequence[Item]:
        try:
            return [self.unseal(item) for item in sealed]
        except WrongKeyError:
            await self.reload()
            return [item if is_readable(item) else self.ring.sealer.unseal(item, known=True) for item in sealed]


def encrypted(*, key: KeySource | None = None, old_keys: Sequence[KeySource] = ()) -> Callable[[Driver], Driver]:
    """Encrypt everything that users typed, for `wrappers=`; see `Encrypted`."""
    key, old_keys = hide(key, old_keys)
    return lambda driver: Encrypted(driver, key=key, old_keys=old_keys)
