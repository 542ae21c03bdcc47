"""The hidden folder: the metadata of items, and the journal that makes batches atomic and durable.

    .limpet/journal     every round since the last checkpoint, with its contents; synced before an acknowledgement
    .limpet/index-*     what earlier journals said, without contents; the journal names the valid one
    .limpet/new/        files that have not been moved into place yet
    .limpet/lock        held shared to read, exclusively to write (`limpet.driver.FileLock`)

After the files are synced, a checkpoint replaces the journal atomically. If a writer died before it updated the
files, the next process that finds its rounds in the journal updates them (`_recovery`).
Nothing in this module takes the lock: callers hold it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from limpet._errors import ConfigurationError, CorruptDataError, FormatError, UnavailableError
from limpet.driver import Key, new_etag

from . import _client as client
from ._client import Files
from ._frames import BLOCK, MARK_AT, Change, Entry, Header, frame, frames, mark, marked, scan
from ._layout import HIDDEN

__all__ = ["JOURNAL", "NEW", "Ledger"]

JOURNAL = f"{HIDDEN}/journal"
NEW = f"{HIDDEN}/new"
_NEXT = f"{HIDDEN}/journal-next"
_IGNORED = f"{HIDDEN}/.gitignore"
_NOTE = b"""\
# Limpet keeps etags, expiries and its journal in this folder. It belongs to this machine: leave it out of
# version control. Without it the files are served all the same, with new etags and without expiries.
*
"""
_DEAD = 4096
"""How many overwritten records an index may contain, beyond twice the number of valid ones."""
_ROWS = 1000
_LONGEST = 512 * 1024 * 1024
"""Largest journal, in bytes. Above 64 MiB, a checkpoint replaces it before the next round."""


class Ledger:
    """One process's view of the hidden folder."""

    def __init__(self, files: Files, *, sync: bool) -> None:
        self._files = files
        self._sync = sync
        self._block = b""
        self._header: Header | None = None
        self._read_index = ("", 0)
        self._index_rows = 0
        self._suspect = False
        self._linked = False
        self.entries: dict[Key, Entry] = {}
        """What is recorded, including expired items, whether or not the file still exists."""
        self.pending: dict[Key, Entry | None] = {}
        """What the journal contains: the changes since the last checkpoint."""
        self.end = 0
        """How far the journal has been read."""
        self.loads = 0
        """How many times everything was read again, instead of only what was added."""

    @property
    def generation(self) -> str:
        """Different after every checkpoint."""
        return "" if self._header is None else self._header.generation

    @property
    def usable(self) -> bool:
        """Whether rounds can be added to this journal. If not, a checkpoint has to come first.

        A file with another hard link, such as a copy made of hard links, is never written into.
        """
        fit = not self._suspect and not self._linked
        return fit and self._header is not None and self._header.synced == self._sync

    def exists(self) -> bool:
        """Return whether there is a journal."""
        return self._files.kind(JOURNAL) is not None

    def follow(self) -> list[Key] | None:
        """Read what others added and return the keys; `None` if the files are behind the journal (recover)."""
        fd = self._files.open_log(JOURNAL)
        if fd is None:
            return None
        try:
            block = client.read_at(fd, 0, BLOCK)
            changed = [] if block[:MARK_AT] == self._block and block else self._begin(block)
            done, size = marked(block), self._size(fd)
            if size > self.end:
                changed += self._take(fd, size)
        finally:
            client.close(fd)
        return changed if size == self.end == done else None

    def append(self, changes: Sequence[Change]) -> None:
        """Add a round and, unless configured otherwise, sync it. Afterwards, update the files and call `done`.

        Raises `OSError` if nothing was written, `UnavailableError(sent=True)` if that is not known.
        """
        raw = frame(time.time_ns(), changes)
        fd = self._open()
        try:
            try:
                client.write_at(fd, self.end, raw)
            except OSError:
                client.cut(fd, self.end)  # half a frame does not count: nothing happened
                raise
            if self._sync:
                try:
                    self._files.sync_fd(fd)
                except OSError as error:
                    self._suspect = True  # after a failed sync, another proves nothing: a new journal is needed
                    client.cut(fd, self.end)
                    raise UnavailableError(f"the disk did not confirm a write: {error}", sent=True) from error
        finally:
            client.close(fd)
        self.end += len(raw)
        self._note(changes)

    def done(self) -> None:
        """Note that the files are up to date with the journal. Not synced: it only helps after a process was killed."""
        fd = self._open()
        try:
            client.write_at(fd, MARK_AT, mark(self.end))
        except OSError:
            return  # a full disk cannot even change a byte: the next process finds that the files are up to date
        finally:
            client.close(fd)

    def rounds(self, *, everything: bool) -> list[Change]:
        """Return the rounds that the files may lack, oldest first; with `everything`, all. For contents, see `content`.

        Cuts off the incomplete frame of a dead writer and syncs the rest: what becomes visible now must not be lost.
        """
        fd = self._open()
        try:
            block = client.read_at(fd, 0, BLOCK)
            if not block or block[:MARK_AT] != self._block:
                self._begin(block)
            size, done = self._size(fd), marked(block)
            start = BLOCK if everything else min(done, size)
            whole = start
            found: list[Change] = []
            with self._explained(HIDDEN):
                for end, _, changes in scan(client.reader(fd), start, size):
                    found += changes
                    whole = end
                    if end > self.end:
                        self._note(changes)
            if whole < done and self._header is not None and self._header.synced:
                raise CorruptDataError(
                    f"{self._files.at(JOURNAL)} is damaged at byte {whole}. Nothing was changed. Restore it from a "
                    f"backup, or remove the folder {HIDDEN}: the files stay as they are, without etags and expiries"
                )
            if not self._files.only_reads:
                if whole < size:
                    client.cut(fd, whole)
                self._files.sync_fd(fd)
            self.end = whole
        finally:
            client.close(fd)
        return found

    def content(self, change: Change) -> bytes:
        """Return what a change from `rounds` wrote into its file."""
        fd = self._open()
        try:
            return client.read_at(fd, *change.span)
        finally:
            client.close(fd)

    def holds(self, change: Change, generation: str) -> bool:
        """Return whether a change from `rounds` is still current: no checkpoint since, and no later round."""
        return generation == self.generation and self.pending.get(change.key) == change.entry

    def recorded(self, keys: set[Key]) -> dict[Key, Entry]:
        """Return what was recorded about these keys when the journal was created."""
        assert self._header is not None
        found: dict[Key, Entry] = {}
        for changes in self._index_frames(self._header, 0):
            for change in changes:
                if change.key in keys:
                    if change.entry is None:
                        found.pop(change.key, None)
                    else:
                        found[change.key] = change.entry
        return found

    def make_folders(self) -> None:
        """Create missing parts of the hidden folder. Raises `ConfigurationError` if a link leads elsewhere."""
        for folder in (HIDDEN, NEW):
            if self._files.kind(folder) != "folder" and not self._files.make_folder(folder):
                raise ConfigurationError(f"{self._files.at(folder)} is a link or a file, not a folder: move it away")

    def create(self) -> None:
        """Create an empty journal."""
        self._files.write(_IGNORED, _NOTE)
        self.entries.clear()
        self._index_rows = 0
        self.loads += 1
        index = f"index-{new_etag()}"
        self._files.write(f"{HIDDEN}/{index}", b"")
        self._rewrite(index, 0, b"", {})
        self._files.sync_folder("")

    def checkpoint(self, upto: int) -> None:
        """Start a new journal. The files changed by rounds up to byte `upto` must have been synced."""
        assert self._header is not None
        fd = self._open()
        try:
            tail = client.read_at(fd, upto, self.end - upto)
        finally:
            client.close(fd)
        index, length = self._header.index, self._header.index_bytes
        shared = self._files.has_other_names(f"{HIDDEN}/{index}")
        rows = [Change(key, entry) for key, entry in self.pending.items()]
        kept = {change.key: change.entry for _, _, changes in frames(tail) for change in changes}
        stale = None
        if shared or self._index_rows + len(rows) > 2 * len(self.entries) + _DEAD:
            stale, index, length = index, f"index-{new_etag()}", 0
            rows = [Change(key, entry) for key, entry in self.entries.items()]
            self._index_rows = 0
        raw = b"".join(frame(0, rows[start : start + _ROWS]) for start in range(0, len(rows), _ROWS))
        made = self._files.kind(f"{HIDDEN}/{index}") is None
        log = self._files.open_log(f"{HIDDEN}/{index}", create=True)
        assert log is not None, "it was opened so that it is made when missing"
        try:
            client.cut(log, length)
            client.write_at(log, length, raw)
            self._files.sync_fd(log)
        finally:
            client.close(log)
        if made:  # its name must reach the disk before the journal that needs it
            self._files.sync_folder(HIDDEN)
        self._index_rows += len(rows)
        self._rewrite(index, length + len(raw), tail, kept)
        if stale is not None:
            self._files.remove(f"{HIDDEN}/{stale}")

    def tidy(self) -> None:
        """Remove leftovers of dead processes from the hidden folder."""
        assert self._header is not None
        for name, kind in list(self._files.names(HIDDEN)):
            path = f"{HIDDEN}/{name}"
            if kind == "file" and (path == _NEXT or (name.startswith("index-") and name != self._header.index)):
                self._files.remove(path)
        for name, _ in list(self._files.names(NEW)):
            self._files.remove(f"{NEW}/{name}")

    def _rewrite(self, index: str, index_bytes: int, tail: bytes, kept: dict[Key, Entry | None]) -> None:
        header = Header(new_etag(), index, index_bytes, self._sync)
        end = BLOCK + len(tail)
        self._files.write(_NEXT, header.block(end) + tail, sync=True)
        self._files.replace(_NEXT, JOURNAL)
        self._files.sync_folder(HIDDEN)
        self._header, self._block, self.end = header, header.block(end)[:MARK_AT], end
        self._read_index = (index, index_bytes)
        self.pending = kept
        self._suspect = self._linked = False

    def _begin(self, block: bytes) -> list[Key]:
        """Switch to a new journal. What its predecessor contained and was not read here is in the index."""
        try:
            header = Header.of(block)
            index, offset = self._read_index
            if index != header.index or offset > header.index_bytes:
                offset = 0
                self.entries.clear()
                self.loads += 1
                self._index_rows = 0
            changed = self._read(header, offset)
        except FormatError:
            raise
        except CorruptDataError as error:
            raise self._damaged(HIDDEN, error) from error
        self._header, self._block, self.end = header, block[:MARK_AT], BLOCK
        self.pending.clear()
        return changed

    def _damaged(self, path: str, error: CorruptDataError) -> CorruptDataError:
        return CorruptDataError(
            f"{error} ({self._files.at(path)}). Nothing was changed. Restore it from a backup, or remove that folder: "
            "the files stay as they are, without etags and expiries"
        )

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        try:
            yield
        except CorruptDataError as error:
            raise self._damaged(path, error) from error

    def _read(self, header: Header, offset: int) -> list[Key]:
        changed: list[Key] = []
        for changes in self._index_frames(header, offset):
            self._apply(changes)
            self._index_rows += len(changes)
            changed += [change.key for change in changes]
        self._read_index = (header.index, header.index_bytes)
        return changed

    def _index_frames(self, header: Header, offset: int) -> Iterator[list[Change]]:
        """Yield the valid part of the index from a byte on. Raises `CorruptDataError` if it is incomplete."""
        if header.index_bytes == offset:
            return
        fd = self._files.open_log(f"{HIDDEN}/{header.index}")
        if fd is None:
            raise CorruptDataError(f"{header.index} is missing")
        try:
            whole = offset
            if header.index_bytes <= client.size_of_fd(fd)[0]:
                for end, _, changes in scan(client.reader(fd), offset, header.index_bytes):
                    yield changes
                    whole = end
            if whole != header.index_bytes:
                raise CorruptDataError(f"{header.index} is damaged at byte {whole}")
        finally:
            client.close(fd)

    def _size(self, fd: int) -> int:
        size, names = client.size_of_fd(fd)
        self._linked = names > 1
        if size > _LONGEST:
            raise self._damaged(HIDDEN, CorruptDataError(f"the journal has {size} bytes, more than Limpet writes"))
        return size

    def _take(self, fd: int, size: int) -> list[Key]:
        changed: list[Key] = []
        with self._explained(HIDDEN):
            for end, _, changes in scan(client.reader(fd), self.end, size):
                self._note(changes)
                self.end = end
                changed += [change.key for change in changes]
        return changed

    def _note(self, changes: Sequence[Change]) -> None:
        self._apply(changes)
        for change in changes:
            self.pending[change.key] = change.entry

    def _apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.entry is None:
                self.entries.pop(change.key, None)
            else:
                self.entries[change.key] = change.entry

    def _open(self) -> int:
        fd = self._files.open_log(JOURNAL)
        if fd is None:
            raise CorruptDataError(f"{self._files.at(JOURNAL)} was removed while it was in use: open the driver again")
        return fd
