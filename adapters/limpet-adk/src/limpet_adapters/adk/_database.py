"""What the three services have in common: where their data are."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Self

from limpet import ConfigurationError, Persistence, SharedPersistence

__all__ = ["Database", "joined"]


class Database:
    """A database of the application's, or a share of the one at a URL."""

    def __init__(self, database: str | Persistence | None) -> None:
        """`database` is a URL, or a `Persistence`, which is never closed here; `None`: what the environment names.

        With a URL, everything of this process that names it shares one open database, usable from any event loop.
        Raises `ConfigurationError`, `DriverNotFoundError` or `PluginError` for a URL that nothing can open.
        """
        if isinstance(database, Persistence):
            self._share = None
            self.persistence = database
        elif database is None or isinstance(database, str):
            self._share = SharedPersistence(database)
            self.persistence = self._share.persistence
        else:
            raise ConfigurationError(f"a {type(database).__name__} is no database: pass a URL, or a Persistence")

    async def close(self) -> None:
        """End the service; the last one of a URL closes its database. What you opened yourself stays open."""
        if self._share is not None:
            await self._share.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def joined(*names: str) -> str:
    """One id of several names, which no other names have."""
    return json.dumps(names, ensure_ascii=False, separators=(",", ":"))
