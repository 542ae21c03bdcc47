"""Translate the system's errors."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable

from limpet._errors import ConfigurationError, InvalidKeyError, LimpetError, ReadOnlyError, UnavailableError

__all__ = ["concerns_one_folder", "patiently", "translated"]

_FULL = {errno.ENOSPC, errno.EFBIG} | {getattr(errno, name) for name in ("EDQUOT",) if hasattr(errno, name)}
_BUSY_TRIES = 60
_MANY = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_RIGHTS = {errno.EACCES, errno.EPERM}
_SHAPE = {errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EEXIST, errno.EINVAL, errno.ENOTEMPTY, errno.EXDEV}


def translated(error: OSError) -> LimpetError:
    """Return Limpet's error for an `OSError`. Nothing was written."""
    code = error.errno
    where = f" ({error.filename})" if error.filename else ""
    what = error.strerror or str(error) or type(error).__name__
    if code in _FULL:
        return UnavailableError(f"the disk is full{where}: free some space and retry")
    if code == errno.EROFS:
        return ReadOnlyError(f"the file system is read-only{where}: mount it for writing, or use another folder")
    if code in _RIGHTS:
        return UnavailableError(f"{what}{where}: give this user permission to read and write there, and retry")
    if code == errno.ENAMETOOLONG:
        return InvalidKeyError(f"the path is too long for this system{where}: use a shorter key or a base nearer to /")
    if code == errno.ENOENT:
        return UnavailableError(f"a folder or file was removed while it was in use{where}: retry")
    if code in _SHAPE:
        return ConfigurationError(f"{what}{where}: something else is where Limpet needs a file or a folder")
    if code in _MANY:
        return UnavailableError(
            f"{what}: raise the limit of this process or close files that it does not need, and retry"
        )
    return UnavailableError(f"the file system failed: {what}{where}")


def concerns_one_folder(error: OSError) -> bool:
    """Return whether only accesses to the same folder fail like this: missing permissions, or something in the way."""
    return error.errno in _RIGHTS | _SHAPE | {errno.EROFS, errno.ENOENT, errno.ENAMETOOLONG}


def patiently(action: Callable[[], object]) -> None:
    """Retry for two seconds while Windows reports that a program (an editor, a virus scanner) has the file open."""
    for attempt in range(_BUSY_TRIES):
        try:
            action()
        except PermissionError:
            if sys.platform != "win32" or attempt == _BUSY_TRIES - 1:
                raise
            time.sleep(0.03)
        else:
            return
