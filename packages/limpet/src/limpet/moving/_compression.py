"""Files that are compressed as their names say: `.zst`, `.gz`, or not at all."""

from __future__ import annotations

import gzip
import sys
import zlib
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Literal, cast

from .._errors import ConfigurationError

__all__ = ["best_suffix", "damage", "open_file"]

_ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"


def best_suffix() -> Literal[".zst", ".gz"]:
    """Return the better compression that this Python has."""
    if sys.version_info >= (3, 14):
        return ".zst"
    return ".zst" if find_spec("backports") and find_spec(_ZSTD) else ".gz"


def open_file(path: Path, mode: Literal["rb", "wb", "xb"]) -> IO[bytes]:
    """Open a file, compressed by its suffix. Raises `ConfigurationError` where Python has no Zstandard, and `OSError`."""
    if path.suffix == ".zst":
        try:
            zstd: Any = import_module(_ZSTD)
        except ImportError as error:
            raise ConfigurationError(
                f"{path.name} needs the extra limpet[compression]: install it from the same source as limpet, or use .gz"
            ) from error
        # Without a checksum, a changed byte may go unnoticed.
        options = None if mode == "rb" else {zstd.CompressionParameter.checksum_flag: 1}
        return cast("IO[bytes]", zstd.ZstdFile(path, mode, options=options))
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.GzipFile(path, mode, compresslevel=6))
    return path.open(mode)


def damage(path: Path) -> tuple[type[Exception], ...]:
    """Return what reading a damaged file raises."""
    errors: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile)
    with suppress(ImportError):  # then no such file was opened
        if path.suffix == ".zst":
            errors += (import_module(_ZSTD).ZstdError,)
    return errors
