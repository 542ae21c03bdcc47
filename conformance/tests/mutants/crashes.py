"""Wrong when a process is killed."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from limpet import ClosedError, CorruptDataError, ForkedError, LimpetError, UnavailableError
from limpet_conformance.sections.crashes import Crashes
from toys.pickled import PickledDriver, Records

from . import caught_by


@caught_by(Crashes)
class AcknowledgedBeforeWritten(PickledDriver):
    """Writes its first commit at once, acknowledges all of them, and writes the rest when it is closed."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.kept: Records | None = None

    def load(self) -> Records:
        return super().load() if self.kept is None else self.kept

    def save(self, records: Records) -> None:
        if self.kept is None:
            super().save(records)
        self.kept = records

    async def _close(self) -> None:
        if self.kept is not None:
            PickledDriver.save(self, self.kept)


@caught_by(Crashes)
class WrittenByHalves(PickledDriver):
    """The items of a batch reach the file in two steps."""

    def save(self, records: Records) -> None:
        if self.path.exists():
            old = super().load()
            changed = [key for key, record in records.items() if old.get(key) != record]
            for key in changed[: len(changed) // 2]:
                old[key] = records[key]
            super().save(old)
            time.sleep(0.02)
        super().save(records)


@caught_by(Crashes)
class WrittenInPlace(PickledDriver):
    """The file is overwritten where it stands: a kill in the middle leaves what nobody can read."""

    client_errors: ClassVar[tuple[type[Exception], ...]] = (EOFError, pickle.UnpicklingError)

    def _translate(self, error: Exception) -> LimpetError:
        return CorruptDataError(f"the file cannot be read: {error}")

    def save(self, records: Records) -> None:
        content = pickle.dumps(records)
        with self.path.open("wb") as file:
            for start in range(0, len(content), 20_000):
                file.write(content[start : start + 20_000])
                file.flush()
                time.sleep(0.001)


@caught_by(Crashes)
class LockOutlivesItsHolder(PickledDriver):
    """The lock is a file that exists, so a process that was killed holds it for ever."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        mark = Path(f"{self.path}.held")
        for _ in range(100):
            try:
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
                break
            except FileExistsError:
                time.sleep(0.01)
        else:
            raise UnavailableError("somebody holds the lock")
        try:
            yield
        finally:
            time.sleep(0.002)
            mark.unlink()


@caught_by(Crashes, patience=14.0)
class HangsAtExit(PickledDriver):
    """A worker thread keeps the process alive when nobody closes the driver."""

    async def _open(self) -> None:
        await super()._open()
        self.stop = threading.Event()
        threading.Thread(target=self.stop.wait).start()

    async def _close(self) -> None:
        self.stop.set()


@caught_by(Crashes)
class AnyProcessWillDo(PickledDriver):
    """Does not notice that it was forked."""

    def _check(self) -> None:
        with suppress(ForkedError):
            super()._check()


@caught_by(Crashes)
class AChildClosesForItsParent(PickledDriver):
    """A forked child tidies up what its parent still uses."""

    async def close(self) -> None:
        try:
            self._check()
        except ForkedError:
            self.path.unlink(missing_ok=True)
        except ClosedError:
            pass
        await super().close()


@caught_by(Crashes)
class RollsBackOnOpen(PickledDriver):
    """After a kill, opens the copy that it makes at every fifth commit."""

    commits = 0

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.before = Path(f"{path}.before")
        self.clean = Path(f"{path}.clean")

    async def _open(self) -> None:
        await super()._open()
        if self.before.exists() and not self.clean.exists():
            self.before.replace(self.path)
        self.clean.unlink(missing_ok=True)

    def save(self, records: Records) -> None:
        self.commits += 1
        if self.path.exists() and self.commits % 5 == 1:
            copy = Path(f"{self.before}.new")
            copy.write_bytes(self.path.read_bytes())
            copy.replace(self.before)
        super().save(records)

    async def _close(self) -> None:
        self.clean.touch()
