"""The driver. Its methods are in the order of the contract."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Self

from limpet._errors import LimpetError, UnavailableError
from limpet.driver import Capabilities, Health, Item, Key, Outcome, Page, Range, Unit
from limpet.driver.kit import BaseDriver, Worker, host_now_ms

from . import _options
from ._checkpoint import Checkpoints
from ._client import Files
from ._commands import Store
from ._errors import translated
from ._frames import LAYOUT

__all__ = ["FsDriver"]

_MIB = 1024 * 1024
_LITTLE_ROOM = 256 * _MIB


class FsDriver(BaseDriver):
    """Stores items as files that people can read: `images!@img_1` is `images/img_1.json`.

    Batches are atomic and, by default, on disk when they are acknowledged. Any number of drivers and processes can use
    the folder. If a person edits a file, its item gets a new etag; a file that a person adds becomes an item, and one
    that a person removes is gone. The package's README says which names are items, and what is promised about edits.
    """

    capabilities = Capabilities(
        atomic="batch",
        durable="disk",
        shared=True,
        seek=True,
        append=True,
        max_value_bytes=32 * _MIB,
        max_batch_bytes=64 * _MIB,
        max_writes=4096,
        max_keys=4096,
    )
    client_errors: ClassVar[tuple[type[Exception], ...]] = (OSError,)

    def __init__(
        self,
        base: str | os.PathLike[str],
        *,
        durability: str = "disk",
        lock_timeout: float = 30.0,
        clock: Callable[[], int] = host_now_ms,
    ) -> None:
        """`base` is created if it is missing.

        `durability="process"` does not wait for the disk: an acknowledged write survives the end of the process, but a
        power failure loses the last few seconds. `lock_timeout` is how many seconds to wait for other processes before
        raising `UnavailableError`. `clock` returns milliseconds since 1970.
        """
        super().__init__()
        self._options = _options.Options.checked(base, durability, lock_timeout, clock)
        if self._options.durability == "process":
            self.capabilities = replace(type(self).capabilities, durable="process")
        self._files = Files(self._options.base)
        self._store = Store(
            self._files,
            sync=self._options.durability == "disk",
            clock=clock,
            lock_timeout=lock_timeout,
        )
        self._checkpoints = Checkpoints(self._store)
        self._worker: Worker | None = None

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`fs://./data`, `fs:///srv/data?durability=process`."""
        path, options = _options.from_url(url)
        return cls(path, **options)

    @property
    def tls_problem(self) -> None:
        return None  # there is no network

    async def _open(self) -> None:
        worker = Worker(f"limpet-fs {self._options.base}", idle=self._checkpoints.idle)
        try:
            await worker.run(self._open_store)
        except BaseException:
            worker.stop()
            raise
        self._worker = worker

    def _open_store(self) -> None:
        try:
            self._store.open(only_reads=self.only_reads)
        except BaseException:
            self._store.close()
            raise
        if not self.only_reads:
            self._checkpoints.owe()

    async def _close(self) -> None:
        worker, self._worker = self._thread, None
        try:
            await worker.run(self._close_store)
        finally:
            worker.stop()

    def _close_store(self) -> None:
        try:
            self._checkpoints.finish()
        except (FileNotFoundError, UnavailableError):
            return  # the folder is gone or locked by others: acknowledged writes are in the journal
        finally:
            self._store.close()

    async def _fetch(self, keys: Sequence[Key], values: bool) -> list[Item | None]:
        return await self._thread.run(lambda: self._store.fetch(keys, values))

    async def _commit(self, units: Sequence[Unit]) -> list[Outcome]:
        return await self._thread.run(lambda: self._store.commit(units))

    async def _list(self, range: Range) -> Page:
        return await self._thread.run(lambda: self._store.page(range))

    async def _purge(self) -> tuple[int, bool]:
        return await self._thread.run(self._store.purge), False

    async def _health(self) -> Health:
        return await self._thread.run(self._examine)

    def _examine(self) -> Health:
        with self._store.held(shared=True):
            records, journal = len(self._store.ledger.entries), self._store.ledger.end
        problems: list[str] = []
        free = shutil.disk_usage(self._options.base).free
        if free < _LITTLE_ROOM:
            problems.append(f"only {free // _MIB} MiB are free on this disk: free some space before writes are refused")
        if self._checkpoints.trouble is not None:
            problems.append(f"files cannot be synced to disk: {self._checkpoints.trouble}")
        details = {
            "folder": self._options.base,
            "durability": self._options.durability,
            "records": str(records),
            "journal_bytes": str(journal),
        }
        return Health("files", f"layout {LAYOUT}", self._options.clock(), tuple(problems), details)

    def _translate(self, error: Exception) -> LimpetError:
        assert isinstance(error, OSError)
        return translated(error)

    @property
    def _thread(self) -> Worker:
        assert self._worker is not None, "the base class refuses calls before open and after close"
        return self._worker
