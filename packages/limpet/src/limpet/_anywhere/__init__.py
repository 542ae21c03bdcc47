"""What is opened by its first call, and used from any event loop or thread."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._lazy import lazy
from ._open import open_persistence, open_persistence_from_env, open_storage

if TYPE_CHECKING:
    from ._driver import CrossingDriver
    from ._faces import face, give_back, parts

__getattr__: Callable[[str], Any] = lazy(
    __name__,
    {"CrossingDriver": "._driver", "face": "._faces", "give_back": "._faces", "parts": "._faces"},
)

__all__ = [
    "CrossingDriver",
    "face",
    "give_back",
    "open_persistence",
    "open_persistence_from_env",
    "open_storage",
    "parts",
]
