"""Opening a database through the wrappers that wrote it, as commands do that get nothing but its URL."""

from __future__ import annotations

from collections.abc import Sequence

from .._errors import ConfigurationError, WrongStackError
from ..driver import Driver
from ..wrappers import compressed, encrypted, read_only
from ..wrappers.encryption import KeySource, key_in_environment
from ._manifest import written_through
from ._open import open_driver
from ._registry import driver_from_url
from ._requirements import check_tls

__all__ = ["open_as_written"]


async def open_as_written(
    url: str,
    *,
    batching: bool = True,
    key: KeySource | None = None,
    old_keys: Sequence[KeySource] = (),
    new: bool = False,
    rotating: bool = False,
    reading: bool = False,
    strict: bool = True,
) -> Driver:
    """Open a database through the wrappers that its manifest names. The key comes from the environment unless given.

    A database that was never written is refused and left alone, unless `new`: then it is created, encrypted if there
    is a key. With `rotating`, it must be encrypted already. With `reading`, nothing is written. A key in the
    environment that a plaintext database does not need is an error, unless `strict` is false.
    """
    plain = driver_from_url(url)
    check_tls(plain, None)  # before anything is sent
    async with read_only()(plain) if reading else plain as driver:
        names = await written_through(driver)
    if rotating and "encrypted" not in (names or ()):
        raise ConfigurationError(
            "there is no encryption to rotate: this database is not encrypted, or was never written. Check the URL"
        )
    if names is None and not new:
        raise ConfigurationError("this database was never written: check the URL")
    environment = key_in_environment()
    if names is None:
        names = [] if environment is None and key is None else ["encrypted"]
    if "encrypted" in names and key is None and environment is None:
        raise ConfigurationError(
            "this database is encrypted, but there is no key: set LIMPET_ENCRYPTION_KEY_FILE to the key's file, "
            "or LIMPET_ENCRYPTION_KEY to the key"
        )
    if strict and environment is not None and key is None and "encrypted" not in names:
        raise WrongStackError(
            "there is an encryption key in the environment, but this database stores plaintext: unset LIMPET_ENCRYPTION_KEY "
            "and LIMPET_ENCRYPTION_KEY_FILE to use it as it is, or check the URL"
        )
    known = {"compressed": compressed(), "encrypted": encrypted(key=key, old_keys=old_keys)}
    wrappers = [known[name] for name in reversed(names) if name in known]  # opening reports missing ones by name
    if reading:
        wrappers.append(read_only())
    return await open_driver(url, batching=batching, wrappers=wrappers)
