"""Databases that the first call opens, usable from any event loop or thread."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._lazy import lazy
from ._open import open_persistence, open_persistence_from_env, open_storage
from ._shared import SharedPersistence

if TYPE_CHECKING:
    from ._driver import CrossingDriver
    from ._faces import Parts, face, give_back, parts, wait_until_closed

__getattr__: Callable[[str], Any] = lazy(
    __name__,
    {
        "CrossingDriver": "._driver",
        "Parts": "._faces",
        "face": "._faces",
        "give_back": "._faces",
        "parts": "._faces",
        "wait_until_closed": "._faces",
    },
)

__all__ = [
    "CrossingDriver",
    "Parts",
    "SharedPersistence",
    "face",
    "give_back",
    "open_persistence",
    "open_persistence_from_env",
    "open_storage",
    "parts",
    "wait_until_closed",
]
