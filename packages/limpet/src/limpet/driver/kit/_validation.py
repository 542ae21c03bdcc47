"""Validation: what is refused before it reaches a backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from ..._errors import InvalidKeyError, InvalidValueError, TooLargeError, UnsupportedError
from .._capabilities import Capabilities
from .._keys import MAX_KEY_BYTES, check_counter, check_key
from .._types import KEEP, Append, Check, Delete, If, Key, Put, Range, Unit, Write
from ._values import size_of

__all__ = ["MAX_PAGE", "validate_base", "validate_get", "validate_range", "validate_unit"]

MAX_PAGE = 1000
"""Maximum items in one page. A larger limit returns this many, and `next`."""

_NUMBER_BYTES = 17
_ETAG_LENGTH = 22


def validate_get(keys: Sequence[Key], capabilities: Capabilities) -> None:
    """Refuse a `get` that no backend should see."""
    if isinstance(keys, str):
        raise InvalidKeyError("get() takes a sequence of keys: wrap a single key in a list")
    if len(keys) > capabilities.max_keys:
        raise TooLargeError(f"get() of {len(keys)} keys: this driver takes at most {capabilities.max_keys} per call")
    for key in keys:
        check_key(key)


def validate_base(base: Key) -> None:
    """Refuse anything that is neither a key nor `""`, which means everything."""
    if base != "":
        check_key(base)


def validate_range(range: Range) -> None:
    """Refuse a range that no backend should see."""
    if not isinstance(range, Range):
        raise InvalidValueError(f"scan() takes a Range, not {type(range).__name__}: write scan(Range(base, limit=50))")
    for bound in (range.base, range.after, range.before):
        if bound is not None and bound != "":
            check_key(bound)
    limit = range.limit
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise InvalidValueError(f"limit is {limit!r}: it must be at least 1")


def validate_unit(unit: Unit, capabilities: Capabilities) -> int:
    """Refuse a batch or an append that no backend should see; return its size in bytes."""
    if isinstance(unit, Append):
        return _check_append(unit, capabilities)
    if len(unit) > 1 and capabilities.atomic == "item":
        raise UnsupportedError(
            f"a batch of {len(unit)} writes: this backend can only write single items atomically "
            "(capabilities.atomic is 'item'); see the driver's page for how to set it up for batches"
        )
    if len(unit) > capabilities.max_writes:
        raise _too_many(len(unit), capabilities)
    seen: set[Key] = set()
    size = 0
    for write in unit:
        size += _check_write(write, capabilities)
        if write.key in seen:
            raise InvalidKeyError(f"{write.key!r} occurs twice in a batch: merge the two writes into one")
        seen.add(write.key)
    if size > capabilities.max_batch_bytes:
        raise _too_large(size, capabilities)
    return size


def _check_append(unit: Append, capabilities: Capabilities) -> int:
    if capabilities.atomic == "item":
        raise UnsupportedError("append() needs a batch: this backend can only write single items atomically")
    if not unit.puts:
        raise InvalidValueError("append() needs at least one put")
    if len(unit.puts) + 2 > capabilities.max_writes:
        raise _too_many(len(unit.puts) + 2, capabilities)
    check_counter(unit.log)
    _check_write(unit.check, capabilities)
    size = 0
    for put in unit.puts:
        if put.cond is not None:
            raise InvalidValueError("a put in an append cannot have a condition: its number makes the key unique")
        size += _check_write(put, capabilities) + _NUMBER_BYTES
        if len(put.key.encode()) + _NUMBER_BYTES > MAX_KEY_BYTES:
            raise InvalidKeyError(f"{put.key[:60]!r}... is too long: it leaves no room for the number of an entry")
    if size > capabilities.max_batch_bytes:
        raise _too_large(size, capabilities)
    return size


def _too_many(writes: int, capabilities: Capabilities) -> TooLargeError:
    return TooLargeError(
        f"a batch of {writes} writes is too large: this driver takes at most {capabilities.max_writes}; use several batches"
    )


def _too_large(size: int, capabilities: Capabilities) -> TooLargeError:
    return TooLargeError(
        f"a batch of {size} bytes is too large: this driver takes at most {capabilities.max_batch_bytes}; use several batches"
    )


def _check_write(write: Write, capabilities: Capabilities) -> int:
    check_key(write.key)
    cond = write.cond
    if isinstance(write, Put):
        if not (cond is None or isinstance(cond, (If, str))):
            raise InvalidValueError(f"{cond!r} is not a condition: use None, If.ABSENT, If.PRESENT or an etag")
        ttl = write.ttl_ms
        if ttl is not None and ttl is not KEEP:
            if not isinstance(ttl, int) or isinstance(ttl, bool):
                raise InvalidValueError(f"ttl_ms is {ttl!r}: use whole milliseconds, None or KEEP")
            if ttl <= 0:
                raise InvalidValueError(f"ttl_ms is {ttl}: use at least one millisecond, or delete the item")
        if len(write.etag) != _ETAG_LENGTH:
            raise InvalidValueError(f"{write.etag!r} is not a valid etag: leave it out, and a new one is generated")
        if not isinstance(write.value, (str, bytes)):
            raise InvalidValueError(f"a value must be str or bytes, not {type(write.value).__name__}: encode it first")
        size = size_of(write.value)
        if size > capabilities.max_value_bytes:
            raise TooLargeError(
                f"the value for {write.key[:80]!r} has {size} bytes: this driver takes {capabilities.max_value_bytes}"
            )
        return size + len(write.key)
    if not isinstance(write, (Delete, Check)):
        assert_never(write)
    if not (cond is If.PRESENT or isinstance(cond, str) or (cond is None and isinstance(write, Delete))):
        raise InvalidValueError(f"{cond!r} is not a condition for a {type(write).__name__}: use If.PRESENT or an etag")
    return len(write.key)
