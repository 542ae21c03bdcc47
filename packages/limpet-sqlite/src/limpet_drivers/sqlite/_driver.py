"""The driver: the contract's verbs, each one call into a worker thread."""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Self

from limpet import LimpetError
from limpet.driver import Capabilities, Health, Item, Key, Outcome, Page, Range, Unit
from limpet.driver.kit import BaseDriver

from . import _commands
from ._client import Client
from ._errors import of_sqlite
from ._health import examine
from ._options import Durability, Options

__all__ = ["SqliteDriver"]

_MIB = 1024 * 1024


class SqliteDriver(BaseDriver):
    """Stores items in one SQLite file, which any number of processes on this machine can share.

    An acknowledged write is on disk. Reads see every write that was acknowledged before, never wait for
    writers, and never block the event loop. Writing processes take turns in order of arrival.
    """

    capabilities = Capabilities(
        durable="disk",
        shared=True,
        append=True,
        max_value_bytes=32 * _MIB,
        max_batch_bytes=64 * _MIB,
        max_writes=65_536,
        max_keys=65_536,
    )
    client_errors: ClassVar[tuple[type[Exception], ...]] = (sqlite3.Error,)

    def __init__(self, path: str | os.PathLike[str], *, durability: Durability = "disk", timeout: float = 30.0) -> None:
        """`path` is a file, created with its folders if missing, or `:memory:`, which disappears with the driver.

        `durability="relaxed"` does not wait for the disk: after a power failure, the last writes may be missing, but
        never half of a batch. `timeout` is how many seconds a write waits for other processes before it raises
        `UnavailableError`. Raises `ConfigurationError`. Only `open` touches the file.
        """
        super().__init__()
        self._options = Options.from_path(path, durability, timeout)
        self._client: Client | None = None
        self._expiry = _commands.Expiry()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`sqlite:///relative.db`, `sqlite:////absolute.db` or `sqlite://` (in memory), e.g. `?durability=relaxed`."""
        options = Options.from_url(url)
        return cls(
            ":memory:" if options.path is None else options.path,
            durability=options.durability,
            timeout=options.timeout,
        )

    @property
    def tls_problem(self) -> None:
        return None  # there is no network

    async def _open(self) -> None:
        client = Client(self._options, only_reads=self.only_reads)
        try:
            await client.open()
        except BaseException:
            await client.close()
            raise
        self._client = client
        self._dropped = weakref.finalize(self, client.forget)
        self._dropped.atexit = False
        if self._options.path is None:
            self.capabilities = replace(self.capabilities, durable="no", shared=False)
        elif self._options.durability == "relaxed":
            self.capabilities = replace(self.capabilities, durable="process")

    async def _close(self) -> None:
        self._dropped.detach()
        await self._opened.close()

    async def _fetch(self, keys: Sequence[Key], values: bool) -> list[Item | None]:
        return await self._opened.read(lambda connection: _commands.fetch(connection, keys, values))

    async def _commit(self, units: Sequence[Unit]) -> list[Outcome]:
        client = self._opened
        expiry = self._expiry
        return await client.write(lambda connection: _commands.commit(connection, units, client.place, expiry))

    async def _list(self, range: Range) -> Page:
        return await self._opened.read(lambda connection: _commands.list_page(connection, range))

    async def _clear(self, base: Key) -> tuple[int, bool]:
        client = self._opened
        return await client.write(lambda connection: _commands.clear(connection, base, client.place))

    async def _purge(self) -> tuple[int, bool]:
        client = self._opened
        return await client.write(lambda connection: _commands.purge(connection, client.place))

    async def _health(self) -> Health:
        return await self._opened.aside(lambda connection: examine(connection, self._options))

    @property
    def _opened(self) -> Client:
        if self._client is None:
            self._check()
        assert self._client is not None
        return self._client

    def _translate(self, error: Exception) -> LimpetError:
        assert isinstance(error, sqlite3.Error)
        return of_sqlite(error, self._opened.place)
