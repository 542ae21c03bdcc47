"""Values compressed with Zstandard, if that makes them smaller."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from typing import Any, ClassVar

from .._errors import ConfigurationError, CorruptDataError
from ..driver import Capabilities, Driver, Item, Put, Value
from ..driver.kit import size_of
from ._value_wrapper import ValueWrapper
from ._wrapper import Wrap

__all__ = ["Compressed", "compressed"]

_MARK = b"\xf5z"
_TEXT, _BYTES, _PLAIN = b"t", b"b", b"p"
_LEAST = 64
"""The lowest possible threshold: the counter of a log, which backends read, must not be compressed."""
_MOST = 256 * 1024 * 1024
"""Bytes of the largest value. Whatever a stored value claims, it is never decompressed to more."""


class Compressed(ValueWrapper):
    """Compresses values of `threshold` bytes or more, if that makes them smaller; others are stored unchanged.

    `level` is Zstandard's: 1 is fast, 19 is small. Values are compressed on the event loop, which takes about 5 ms for
    1 MiB of text at level 3. Reading raises `CorruptDataError` if a value is truncated, does not decompress to the size
    that it claims, or claims more than `max_bytes`. `max_bytes` is also the longest value that can be written.

    Raises `ConfigurationError`, also where Python has no Zstandard (before 3.14: the extra `limpet[compression]`).
    """

    stored_as: ClassVar[str | None] = "compressed"
    rank: ClassVar[int | None] = 1
    added: ClassVar[int] = len(_MARK) + 1

    def __init__(self, inner: Driver, *, level: int = 3, threshold: int = 512, max_bytes: int = _MOST) -> None:
        if isinstance(level, bool) or not isinstance(level, int) or not 1 <= level <= 19:
            raise ConfigurationError(f"level is {level!r}: use a whole number from 1 to 19")
        if isinstance(threshold, bool) or not isinstance(threshold, int) or threshold < _LEAST:
            raise ConfigurationError(f"threshold is {threshold!r}: use whole bytes, {_LEAST} or more")
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or not threshold <= max_bytes <= _MOST:
            raise ConfigurationError(f"max_bytes is {max_bytes!r}: use whole bytes, from threshold to {_MOST}")
        self._max_bytes = max_bytes
        super().__init__(inner)
        self._zstd = _zstd()
        options = self._zstd.CompressionParameter
        self._compressor = self._zstd.ZstdCompressor(
            options={options.compression_level: level, options.checksum_flag: 1}
        )
        self._threshold = threshold

    def _declared(self, inner: Capabilities) -> Capabilities:
        declared = super()._declared(inner)
        return replace(declared, max_value_bytes=min(declared.max_value_bytes, self._max_bytes))

    def seal(self, put: Put) -> Put:
        value = put.value
        if size_of(value) >= self._threshold:
            kind, raw = (_TEXT, value.encode()) if isinstance(value, str) else (_BYTES, value)
            packed = _MARK + kind + self._compressor.compress(raw, self._compressor.FLUSH_FRAME)
            if len(packed) < len(raw):
                return replace(put, value=packed)
        if isinstance(value, bytes) and value.startswith(_MARK):
            return replace(put, value=_MARK + _PLAIN + value)
        return put

    def unseal(self, item: Item) -> Item:
        if not isinstance(item.value, bytes) or not item.value.startswith(_MARK):
            return item
        try:
            return replace(item, value=self._unpacked(item.value))
        except (ValueError, self._zstd.ZstdError) as error:
            raise CorruptDataError(
                f"the compressed value at {item.key!r} cannot be decompressed: {error}", key=item.key
            ) from error

    def _unpacked(self, stored: bytes) -> Value:
        kind, packed = stored[len(_MARK) : self.added], stored[self.added :]
        if kind == _PLAIN:
            return packed
        if kind not in (_TEXT, _BYTES):
            raise ValueError("its header is invalid")
        size = self._zstd.get_frame_info(packed).decompressed_size
        if size is None or size > self._max_bytes:
            raise ValueError(f"it claims to have {size} bytes, but the maximum is {self._max_bytes}")
        decompressor = self._zstd.ZstdDecompressor()
        raw: bytes = decompressor.decompress(packed, size + 1)
        if not decompressor.eof or decompressor.unused_data or len(raw) != size:
            raise ValueError(f"it does not have the {size} bytes that it claims")
        return raw.decode() if kind == _TEXT else raw


def compressed(*, level: int = 3, threshold: int = 512, max_bytes: int = _MOST) -> Wrap:
    """Compress values, for `wrappers=`; see `Compressed`."""
    return lambda driver: Compressed(driver, level=level, threshold=threshold, max_bytes=max_bytes)


def _zstd() -> Any:
    """Return the standard library's module, or its backport for older Pythons."""
    try:
        return import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    except ImportError as error:
        raise ConfigurationError(
            "compressed() needs the extra limpet[compression]: install it from the same source as limpet"
        ) from error
