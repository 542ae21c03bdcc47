"""Sources and forms of encryption keys."""

from __future__ import annotations

import os
import warnings
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from pathlib import Path
from typing import TypeAlias

from ..._errors import ConfigurationError
from ..._secrets import SecretBytes, hidden

__all__ = ["KeySource", "find_key", "find_keys", "hide", "key_in_environment", "new_key"]

KeySource: TypeAlias = str | bytes | Path | Callable[[], str | bytes | Awaitable[str | bytes]]
"""A key (32 bytes, or text: 64 hex characters, base64, base64url), `env://VARIABLE`, `secret://name`, the path of a
file, or a function, async or not, that returns a key, for a secrets manager.
"""

KEY_BYTES = 32
_SECRETS = "/run/secrets"


def new_key() -> str:
    """Return a new key from the system's random source, as 64 hex characters."""
    return os.urandom(KEY_BYTES).hex()


def key_in_environment(name: str = "LIMPET_ENCRYPTION_KEY") -> KeySource | None:
    """Return the value of `name` or the content of the file that `<name>_FILE` names; `None` if neither is set."""
    written, file = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if written and file:
        raise ConfigurationError(f"{name} and {name}_FILE are both set: unset one of them")
    return f"env://{name}" if written else Path(file) if file else None


def hide(key: KeySource | None, old_keys: Sequence[KeySource]) -> tuple[KeySource | None, Sequence[KeySource]]:
    """Return the same keys, not shown by `repr`. If old keys are not a list, they are left for later checks."""
    single = isinstance(old_keys, str | bytes) or callable(old_keys)
    return hidden(key), hidden(old_keys) if single else [hidden(old) for old in old_keys]


async def find_keys(key: KeySource | None, old_keys: Sequence[KeySource]) -> tuple[bytes, ...]:
    """Return the current key and the older ones; the environment has the defaults. Raises `ConfigurationError`."""
    first = key if key is not None else key_in_environment()
    if first is None:
        raise ConfigurationError(
            "encrypted() has no key: pass key=, or set LIMPET_ENCRYPTION_KEY or LIMPET_ENCRYPTION_KEY_FILE"
        )
    if not old_keys and (old := key_in_environment("LIMPET_ENCRYPTION_OLD_KEY")) is not None:
        old_keys = [old]
    return tuple([await find_key(source) for source in (first, *old_keys)])


async def find_key(source: KeySource) -> bytes:
    """Return the 32 bytes of a key source. Raises `ConfigurationError`, which never shows any of them."""
    source = hidden(source)
    if callable(source):
        given = hidden(source())
        found = hidden(await given if isawaitable(given) else given)
        return _parse(found, f"what {getattr(source, '__qualname__', 'the function')} gave")
    if isinstance(source, Path):
        return _from_file(source)
    if isinstance(source, str) and source.startswith("secret://"):
        return _from_file(_secret(source))
    if isinstance(source, str) and source.startswith("env://"):
        return _from_environment(source.removeprefix("env://"))
    return _parse(source, "the encryption key")


def _from_environment(name: str) -> bytes:
    written = hidden(os.environ.get(name))
    if not written:
        raise ConfigurationError(
            f"the environment variable {name} is not set: set it to a key ('limpet keygen' generates one)"
        )
    if written.startswith("secret://"):
        return _from_file(_secret(written))
    return _parse(written, f"the key in {name}")


def _secret(written: str) -> Path:
    name = written.removeprefix("secret://")
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise ConfigurationError(f"{written!r} does not name a secret: write secret:// and the name of one file")
    return _secrets() / name


def _secrets() -> Path:
    return Path(os.environ.get("LIMPET_SECRETS", _SECRETS))


def _from_file(path: Path) -> bytes:
    path = path.expanduser()
    try:
        content = SecretBytes(path.read_bytes())
        exposed = _others_can_read(path)
    except OSError as error:
        raise ConfigurationError(
            f"the key file {path} cannot be read ({error.strerror}): 'limpet keygen --out FILE' makes one"
        ) from error
    if not content:
        raise ConfigurationError(
            f"the key file {path} is empty: restore it, because the key is not stored anywhere else"
        )
    if exposed:
        message = f"the key file {path} can be read by other users of this machine: 'chmod 600 {path}'"
        if os.environ.get("LIMPET_REQUIRE_PRIVATE_KEYS", "0") not in ("", "0"):
            raise ConfigurationError(f"{message}, because LIMPET_REQUIRE_PRIVATE_KEYS is set")
        if path.parent != _secrets():  # whoever mounts secrets there decides their mode, and often has no choice
            warnings.warn(message, UserWarning, stacklevel=2)
    # Text must be a whole key: half of a hex key has 32 characters, and would be accepted as 32 bytes.
    return _parse(hidden(content.decode()) if content.isascii() else content, f"the key file {path}")


def _others_can_read(path: Path) -> bool:
    """Return whether users other than owner and group can read or change a file, and reach it through its folders."""
    if os.name != "posix" or not path.stat().st_mode & 0o006:
        return False
    return all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents)


def _parse(given: object, where: str) -> bytes:
    if isinstance(given, bytes | bytearray):
        found = SecretBytes(given)
    elif isinstance(given, str):
        found = _decoded(hidden(given.strip()), where)
    else:
        raise ConfigurationError(f"{where} is a {type(given).__name__}: a key must be 32 bytes, or a string")
    if len(found) != KEY_BYTES:
        raise ConfigurationError(
            f"{where} has {len(found)} bytes: a key must have exactly {KEY_BYTES} ('limpet keygen' generates one)"
        )
    return found


def _decoded(written: str, where: str) -> SecretBytes:
    found = _read(written)
    if found is not None:
        return SecretBytes(found)
    raise ConfigurationError(
        f"{where} has {len(written)} characters and is not a key: write its {KEY_BYTES} bytes as 64 hex characters or as "
        "base64 of 43 or 44 characters ('limpet keygen' generates one); passphrases are not supported"
    )


def _read(written: str) -> bytes | None:
    """Return the bytes of a key's text; `None` if it is invalid.

    Raises nothing, since tracebacks would show parts of it.
    """
    if len(written) == 2 * KEY_BYTES:
        try:
            return bytes.fromhex(str(written))
        except ValueError:
            pass
    plain = written.rstrip("=").replace("+", "-").replace("/", "_")
    try:
        found = urlsafe_b64decode(plain + "=" * (-len(plain) % 4))
    except ValueError:
        return None
    whole = urlsafe_b64encode(found).decode().rstrip("=") == plain and len(found) == KEY_BYTES
    return found if whole else None
