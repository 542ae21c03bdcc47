"""One open database for everything in a process that uses the same URL."""

from __future__ import annotations

import os
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .._errors import ConfigurationError
from ._open import open_persistence, open_persistence_from_env

if TYPE_CHECKING:
    from ..stores import Persistence

__all__ = ["SharedPersistence"]

_lock = Lock()
_open: dict[tuple[int, str | None], tuple[Persistence, int]] = {}
"""By process and URL: the database, and how many share it. A forked child does not share its parent's."""


class SharedPersistence:
    """A share of the database at a URL: all shares of one URL in a process are one open database.

        share = SharedPersistence("sqlite:///agent.db")
        await share.persistence.threads.get("t1")                       # from any event loop or thread
        share.close()                                                   # the last one closes the database

    For libraries whose objects each take a URL, so that a hundred of them do not open a hundred databases. Each share of
    `memory://` is a database of its own.
    """

    persistence: Persistence
    """The stores, as from `open_persistence`. Close the share, not this."""

    def __init__(self, url: str | None) -> None:
        """`None` is what the environment names, as for `open_persistence_from_env`. Opened by the first call.

        Raises `ConfigurationError`, `DriverNotFoundError` or `PluginError` for a URL that nothing can open.
        """
        if url is not None and not isinstance(url, str):
            raise ConfigurationError(f"a database is shared by its URL, not by a {type(url).__name__}: pass the URL")
        self._at = (os.getpid(), url)
        self._is_closed = False
        if _is_alone(url):
            self.persistence = _opened(url)
            return
        with _lock:
            found, shares = _open.get(self._at, (None, 0))
            self.persistence = _opened(url) if found is None else found
            _open[self._at] = (self.persistence, shares + 1)

    @property
    def is_closed(self) -> bool:
        """Whether this share was closed."""
        return self._is_closed

    async def aclose(self) -> None:
        """End this share, from any event loop; the last one closes the database. Safe to repeat."""
        if self._ended():
            await self.persistence.aclose()

    def close(self) -> None:
        """`aclose` for code without `await`: blocks until the database is closed, if this is its last share."""
        if self._ended():
            from ._faces import parts, wait_until_closed

            if (known := parts(self.persistence)) is not None:
                wait_until_closed(known)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ended(self) -> bool:
        """End this share; return whether it was the last one."""
        with _lock:
            if self._is_closed:
                return False
            self._is_closed = True
            found, shares = _open.get(self._at, (None, 1))
            if found is not self.persistence:
                return True
            if shares > 1:
                _open[self._at] = (found, shares - 1)
                return False
            del _open[self._at]
            return True


def _is_alone(url: str | None) -> bool:
    return url is not None and url.lower().startswith("memory:")


def _opened(url: str | None) -> Persistence:
    return open_persistence_from_env() if url is None else open_persistence(url)
