"""A right driver on one file, shared between processes: the base of the mutants that processes and kills find."""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from limpet import ConfigurationError
from limpet.driver import Capabilities, Driver, Health, Item, Key, Outcome, Page, Range, Unit
from limpet.driver.kit import BaseDriver, Record, below, evaluate, host_now_ms, to_page

Records = dict[Key, Record]


class PickledDriver(BaseDriver):
    """Reads a whole file and writes a whole file, under a lock."""

    capabilities = Capabilities(durable="process", shared=True, append=True)

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)

    @classmethod
    def from_url(cls, url: str) -> Self:
        scheme, _, path = url.partition("://")
        if scheme != "pickled" or "?" in path:
            raise ConfigurationError(f"{url!r} is no pickled:///path")
        return cls(path)

    async def _open(self) -> None:
        with self.locked():
            if not self.path.exists():
                self.save({})

    async def _close(self) -> None:
        pass

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def load(self) -> Records:
        found: Records = pickle.loads(self.path.read_bytes())  # noqa: S301 - its own file, in a test's folder
        return found

    def save(self, records: Records) -> None:
        new = self.path.with_suffix(f".{os.getpid()}")
        new.write_bytes(pickle.dumps(records))
        new.replace(self.path)

    async def _fetch(self, keys: Sequence[Key], values: bool) -> Sequence[Item | None]:
        records, now = self.load(), host_now_ms()
        found = [records.get(key) for key in keys]
        return [
            None if record is None or record.gone(now) else record.item(key, now, values=values)
            for key, record in zip(keys, found, strict=True)
        ]

    async def _list(self, range: Range) -> Page:
        records, now = self.load(), host_now_ms()
        low, high = below(range.base)
        keys = sorted((key for key in records if key >= low and (high is None or key < high)), reverse=range.reverse)
        return to_page(
            (
                records[key].item(key, now, values=range.values)
                for key in keys
                if (range.after is None or key > range.after)
                and (range.before is None or key < range.before)
                and not records[key].gone(now)
            ),
            range.limit,
        )

    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        with self.locked():
            records = self.load()
            evaluation = evaluate(units, host_now_ms(), records)
            for key, record in evaluation.effects.items():
                if record is None:
                    records.pop(key, None)
                else:
                    records[key] = record
            self.save(records)
        return evaluation.outcomes

    async def _health(self) -> Health:
        return Health("a pickled file", "1", host_now_ms())


def driver_from_url(url: str) -> Driver:
    """The factory that worker processes import."""
    return PickledDriver.from_url(url)
