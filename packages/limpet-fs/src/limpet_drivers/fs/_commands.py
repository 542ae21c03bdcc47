"""What the verbs do with the files. Everything in this module runs in the driver's own thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from heapq import heapify, heappop, heappush

from limpet._errors import LimpetError, OutcomeUnknownError, ReadOnlyError, UnavailableError
from limpet.driver import Etag, Item, Key, Outcome, Page, Range, Unit
from limpet.driver.kit import FileLock, Record, SortedKeys, between, evaluate, keys_to_read, to_page

from ._client import Files
from ._contents import digest_of, edited_etag, understood
from ._errors import translated
from ._frames import Change
from ._layout import HIDDEN, KINDS, folder_of, place_of
from ._ledger import NEW, Ledger
from ._placing import Placing
from ._recovery import let_files_follow, not_followed
from ._tree import Tree, prune

__all__ = ["Store"]

_FREED_PER_ROUND = 64
_PURGED_AT_ONCE = 1000


class Store:
    """The items of one folder, as one driver sees them."""

    def __init__(self, files: Files, *, sync: bool, clock: Callable[[], int], lock_timeout: float) -> None:
        self.files = files
        self.clock = clock
        self.ledger = Ledger(files, sync=sync)
        self.before_writing: Callable[[], None] = lambda: None
        """Called before a round is written, with the lock held."""
        self._lock_timeout = lock_timeout
        self._lock = self._new_lock(create=True)
        self._loads = 0
        self._order: SortedKeys | None = None
        self._listed: set[Key] = set()
        self._tree = Tree(files, self._list)
        self._placing = Placing(files, self._tree)
        self._expiry: list[tuple[int, Key]] = []
        self._ahead: dict[Key, Change] | None = None
        """When read-only: what is in the journal but not in the files. `None`: not checked yet."""
        self._ahead_of = ""
        self._stuck: dict[Key, LimpetError] = {}
        """Keys in the journal whose files cannot be updated, and why."""
        self.recoveries = 0
        """How many times the files had to be brought up to date from the journal."""

    def open(self, *, only_reads: bool) -> None:
        """Create what is missing in the folder, and apply what a dead writer left in the journal to the files.

        With `only_reads`, nothing is created or changed, now or later: where the files are behind, the journal is read.
        """
        if only_reads:
            self.files.only_reads = True
            self._lock = self._new_lock(create=False)
            with self.held(shared=True):
                return
        self.files.make_base()
        with self._locked(shared=False):
            self._recover(everything=True)
            self.ledger.tidy()

    def _new_lock(self, *, create: bool) -> FileLock:
        folders = self.files.folders
        hidden = (lambda: folders.descriptor(HIDDEN)) if folders.are_open else None
        return FileLock(self.files.at(f"{HIDDEN}/lock"), timeout=self._lock_timeout, folder=hidden, create=create)

    def close(self) -> None:
        """Close the handles, without any I/O."""
        self._lock.close()
        self.files.folders.close()

    # The verbs.

    def fetch(self, keys: Sequence[Key], values: bool) -> list[Item | None]:
        """Return one item or `None` for each key."""
        with self.held(shared=True):
            now = self.clock()
            return [self._item(key, now, values) for key in keys]

    def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        """Run one round: evaluated under the lock, journalled as a whole, then applied to the files."""
        try:
            with self.held(shared=False):
                return self._round(units)
        except (OSError, LimpetError) as error:
            if len(units) == 1 or (isinstance(error, UnavailableError) and error.sent):
                raise
        # A unit that this folder cannot store (its name, or a foreign file in the way) must not fail its neighbours.
        return [self._alone(unit) for unit in units]

    def _alone(self, unit: Unit) -> Outcome:
        try:
            (outcome,) = self.commit([unit])
        except UnavailableError as error:
            return OutcomeUnknownError(str(error)) if error.sent else error
        except LimpetError as error:
            return error
        except OSError as error:
            return translated(error)
        return outcome

    def page(self, range: Range) -> Page:
        """Return one page in key order."""
        with self.held(shared=True):
            if self._order is None:
                self._listed = set(self.ledger.entries)
                self._order = SortedKeys(self._listed)
            self._tree.look(folder_of(range.base))
            low, high = between(range)
            missing: list[Key] = []
            page = to_page(
                self._live(self._order.between(low, high, reverse=range.reverse), range.values, missing), range.limit
            )
            for key in missing:
                self._unlist(key)
            return page

    def purge(self) -> int:
        """Remove expired items and records of removed files; return how many items had expired."""
        freed = 0
        with self.held(shared=False):
            now = self.clock()
            self._placing.begin()
            doomed: list[Key] = []
            for key, entry in self.ledger.entries.items():
                if key in self._stuck or not self._placing.may_change(key):
                    continue
                if entry.expires_at is not None and entry.expires_at <= now:
                    freed += self._standing(key) is not None
                    doomed.append(key)
                elif self._standing(key) is None:
                    doomed.append(key)
            for start in range(0, len(doomed), _PURGED_AT_ONCE):
                self._write(dict.fromkeys(doomed[start : start + _PURGED_AT_ONCE]))
        return freed

    # Under the lock.

    @contextmanager
    def held(self, *, shared: bool) -> Iterator[None]:
        """Hold the lock, after reading everything that any process has acknowledged."""
        if self.files.only_reads:
            if not shared:
                raise ReadOnlyError(
                    f"{self.files.base} was opened with read_only(): open it without read_only() to write"
                )
            with self._locked_to_read():
                yield
            return
        if shared:
            with self._locked(shared=True):
                changed = self.ledger.follow()
                if changed is not None:
                    self._learn(changed)
                    yield
                    return
            # A writer died: the files may only be updated under the exclusive lock.
        with self._locked(shared=False):
            changed = self.ledger.follow()
            if changed is None:
                self._recover(everything=False)
            else:
                self._learn(changed)
            yield

    @contextmanager
    def _locked(self, *, shared: bool) -> Iterator[None]:
        if not self.files.folders.are_open:
            self.files.folders.begin()
            self.ledger.make_folders()
        try:
            self._lock.acquire(shared=shared)
        except (FileNotFoundError, NotADirectoryError):
            self.ledger.make_folders()
            self._lock.acquire(shared=shared)
        try:
            if not self.files.folders.are_open:  # otherwise, taking the lock has just checked where the folders are
                self.files.folders.begin()
            if not shared:
                self.ledger.make_folders()
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _locked_to_read(self) -> Iterator[None]:
        self.files.folders.begin()
        locked = self.files.folders.is_folder(HIDDEN)
        try:
            if locked:
                self._lock.acquire(shared=True)
        except (FileNotFoundError, NotADirectoryError):
            locked = False  # nobody ever wrote here, or not on this machine
        try:
            changed = self.ledger.follow()
            if (changed is None or self._ahead is None) and self.ledger.exists():
                rounds = self.ledger.rounds(everything=self._ahead is None)
                self._ahead = not_followed(self.files, self.ledger, rounds)
                self._ahead_of = self.ledger.generation
                changed = list(self.ledger.entries)
            self._learn(changed or ())
            yield
        finally:
            if locked:
                self._lock.release()

    def _recover(self, *, everything: bool) -> None:
        if not self.ledger.exists():
            self.ledger.create()
        self.recoveries += 1
        self._stuck = let_files_follow(self.files, self.ledger, self.ledger.rounds(everything=everything))
        if not self._stuck:
            self.ledger.done()
        self._learn(list(self.ledger.pending))

    def check_followed(self, keys: Iterable[Key] | None = None) -> None:
        """Raise `UnavailableError` if files of these keys (default: any) could not be updated from the journal yet."""
        for key in self._stuck if keys is None else [key for key in keys if key in self._stuck]:
            raise UnavailableError(
                f"a write is in the journal, but its file could not be updated: {self._stuck[key]}"
            ) from self._stuck[key]

    def _learn(self, changed: Iterable[Key]) -> None:
        entries = self.ledger.entries
        if self._loads != self.ledger.loads:
            self._loads = self.ledger.loads
            self._expiry = [(entry.expires_at, key) for key, entry in entries.items() if entry.expires_at is not None]
            heapify(self._expiry)
            changed = list(entries)
        for key in changed:
            entry = entries.get(key)
            if entry is not None:
                self._list(key)
                if entry.expires_at is not None:
                    heappush(self._expiry, (entry.expires_at, key))

    def _list(self, key: Key) -> None:
        if self._order is not None and key not in self._listed:
            self._listed.add(key)
            self._order.add(key)

    def _unlist(self, key: Key) -> None:
        if self._order is not None and key in self._listed:
            self._listed.remove(key)
            self._order.remove(key)
            place = place_of(key)
            self._tree.forget(place.folder, {f"{place.stem}.{kind}" for kind in KINDS})

    def _live(self, keys: Iterable[Key], values: bool, missing: list[Key]) -> Iterator[Item]:
        now = self.clock()
        for key in keys:
            record = self._read(key)
            if record is None:
                missing.append(key)
            elif not record.gone(now):
                yield record.item(key, now, values=values)

    def _item(self, key: Key, now: int, values: bool) -> Item | None:
        record = self._read(key)
        return None if record is None or record.gone(now) else record.item(key, now, values=values)

    def _read(self, key: Key) -> Record | None:
        """Return what is stored at a key, whoever wrote it."""
        if self._stuck:
            self.check_followed([key])
        entry = self.ledger.entries.get(key)
        if self._ahead and (change := self._ahead.get(key)) is not None and self.ledger.holds(change, self._ahead_of):
            if change.entry is None or entry is None:
                return None
            value, _ = understood(entry.kind, self.ledger.content(change), entry.digest)
            return Record(value, entry.etag, entry.updated_at, entry.expires_at)
        place = place_of(key)
        for kind in KINDS if entry is None else (entry.kind, *(kind for kind in KINDS if kind != entry.kind)):
            found = self.files.read(f"{place.path}.{kind}")
            if found is not None:
                break
        else:
            return None
        content, written = found[0], found[1].st_mtime_ns
        if entry is None:
            value, _ = understood(kind, content, None)
            return Record(value, edited_etag(key, None, digest_of(value)), written // 1_000_000)
        value, as_recorded = understood(kind, content, entry.digest)
        if as_recorded:
            return Record(value, entry.etag, entry.updated_at, entry.expires_at)
        etag = edited_etag(key, entry.etag, digest_of(value))
        return Record(value, etag, written // 1_000_000, entry.expires_at)

    def _glance(self, key: Key) -> Record | None:
        """Return what is stored at a key without reading the file: for a write that checks nothing."""
        if self._standing(key) is None:
            return None
        entry = self.ledger.entries.get(key)
        if entry is None:
            return Record(None, Etag(""), 0)
        return Record(None, entry.etag, entry.updated_at, entry.expires_at)

    def _standing(self, key: Key) -> str | None:
        path = place_of(key).path
        for kind in KINDS:
            if self.files.kind(f"{path}.{kind}") == "file":
                return kind
        return None

    def _round(self, units: Sequence[Unit]) -> list[Outcome]:
        now = self.clock()
        self._placing.begin()
        items = {key: self._read(key) if whole else self._glance(key) for key, whole in keys_to_read(units).items()}
        evaluation = evaluate(units, now, items)
        effects = evaluation.effects
        if effects:
            for key in self._expired(now):
                if key not in self._stuck and self._placing.may_change(key):
                    effects.setdefault(key, None)
            self._write(effects)
        return evaluation.outcomes

    def _expired(self, now: int) -> Iterator[Key]:
        freed = 0
        while self._expiry and self._expiry[0][0] <= now and freed < _FREED_PER_ROUND:
            at, key = heappop(self._expiry)
            entry = self.ledger.entries.get(key)
            if entry is not None and entry.expires_at == at:
                freed += 1
                yield key

    def _write(self, effects: dict[Key, Record | None]) -> None:
        self.before_writing()
        if self._stuck:
            self.check_followed(effects)
        changes: list[Change] = []
        try:
            for key, record in effects.items():
                changes.append(self._placing.prepare(len(changes), key, record))
            self.ledger.append(changes)
        except (OSError, LimpetError):
            for number in range(len(effects)):
                self.files.remove(f"{NEW}/{number}")
            for key in effects:
                prune(self.files, place_of(key).folder)
            raise
        try:
            self._placing.put_in_place(changes)
            if not self._stuck:
                self.ledger.done()
        except OSError as error:
            reason = f"a write is in the journal, but the files cannot be updated: {translated(error)}"
            raise UnavailableError(reason, sent=True) from error
        self._learn([change.key for change in changes])
