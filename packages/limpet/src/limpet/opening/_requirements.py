"""What an operator can require: encryption, and TLS to the backend."""

from __future__ import annotations

import os

from .._errors import ConfigurationError
from ..driver import Driver
from ..wrappers import Encrypted, layers

__all__ = ["check_encryption", "check_tls"]

_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def check_encryption(driver: Driver, required: bool | None) -> None:
    """Refuse a stack that stores plaintext if encryption is required. `None`: `LIMPET_REQUIRE_ENCRYPTION` decides.

    Raises `ConfigurationError`, before anything is opened.
    """
    why = _why("encryption", required)
    if why and not any(isinstance(layer, Encrypted) for layer in layers(driver)):
        raise ConfigurationError(
            f"this database would be opened without encryption, but {why}: add encrypted() to wrappers=, or set "
            "LIMPET_ENCRYPTION_KEY_FILE where the environment opens it"
        )


def check_tls(driver: Driver, required: bool | None) -> None:
    """Refuse a driver whose connections can be read or changed by others. `None`: `LIMPET_REQUIRE_TLS` decides.

    Raises `ConfigurationError`, before anything is sent.
    """
    why = _why("tls", required)
    if why and (problem := layers(driver)[-1].tls_problem) is not None:
        raise ConfigurationError(f"{problem}. Refused because {why}")


def _why(what: str, required: bool | None) -> str | None:
    """Return why it is required; `None` if it is not."""
    if required is not None:
        return f"require_{what} is set" if required else None
    variable = f"LIMPET_REQUIRE_{what.upper()}"
    written = os.environ.get(variable, "")
    wanted = _WORDS.get(written.lower()) if written else False
    if wanted is None:
        raise ConfigurationError(f"{variable} is {written!r}: use true or false")
    return f"{variable} is set" if wanted else None
