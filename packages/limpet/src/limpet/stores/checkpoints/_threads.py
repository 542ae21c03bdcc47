"""The root item of a thread's checkpoints, and what a process remembers below it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from secrets import randbelow
from typing import Any, TypeAlias

from ..._errors import CorruptDataError
from ...driver import Check, Delete, If, Item, Key, Put, Write, key, name, number, text
from ...structures import garbage_record

__all__ = ["Ref", "THREADS", "ThreadCache", "ThreadMovedError", "ThreadRoot", "root_at", "root_of", "thread_key"]

THREADS, _BASE = name("checkpoints.threads"), name("checkpoints")
_STATES = ("kept", "copying", "closing", "deleted")
_THREADS_REMEMBERED, _PARTS_REMEMBERED, _ITEMS_REMEMBERED, _STREAMS = 256, 200_000, 4096, 64
_TOMBSTONE_MS = 60 * 60 * 1000
_MANY = 10_000
"""Items of a thread, for its garbage record: nobody counted them, so their collection is left for later."""

Ref: TypeAlias = tuple[int, int]
"""A part: who wrote it, and its number there."""


class ThreadMovedError(Exception):
    """The thread was deleted, made anew, or lost something, since it was read. Begin again; nobody outside sees this."""


@dataclass(slots=True)
class ThreadRoot:
    """Where the checkpoints of a thread lie, as `checkpoints.threads!@<thread>` says: number, removals, state, and its id.

    Every batch that adds something below it asks whether that item is still the same, and every batch that removes or
    replaces a document changes it. So nothing is added to what was deleted; and as long as the item is the same, what was
    stored or read under it is there: parts are freed only under an item that is younger than the last removal.
    """

    thread: Key
    thread_id: str
    incarnation: int
    removals: int = 0
    state: str = "kept"
    item: Item | None = None
    """As it is stored; `None` before."""
    fresh: bool = False
    """Whether the item does not say all this yet: the next batch writes it."""
    gone: int | None = None
    """The number of what somebody else left half copied, to be freed when this is written."""
    known: dict[bytes, Ref] = field(default_factory=dict)
    """By digest, parts that are stored."""
    refs: set[Ref] = field(default_factory=set)
    """The same parts, to see at once that one is known."""
    learned: bool = False
    """Whether `known` has what was stored before this process came."""
    items: dict[Key, Item | None] = field(default_factory=dict)
    """What lies below it, as far as this process knows: namespaces, and positions of ids."""
    channels: dict[tuple[str, str], tuple[Any, Any]] = field(default_factory=dict)
    """By namespace and name, the last version of a channel that was seen, and its node."""
    runs: dict[tuple[str, str], str] = field(default_factory=dict)
    """By run and namespace, the first checkpoint as the index says."""
    streams: dict[str, list[int]] = field(default_factory=dict)
    """For each list that this process adds to: a writer of its own, so that its parts have consecutive numbers."""

    @property
    def base(self) -> Key:
        return key(_BASE, number(self.incarnation))

    @property
    def is_there(self) -> bool:
        """Whether it is to be seen."""
        return not self.fresh and self.state in ("kept", "closing")

    def is_named_by(self, item: Item | None) -> bool:
        """Whether the item says that this is where the thread lies, and all of it."""
        if item is None:
            return False
        named = root_of(self.thread_id, item)
        return named.incarnation == self.incarnation and named.is_there

    def guard(self) -> Sequence[Write]:
        """The writes that make the rest of their batch stand or fall with the thread."""
        if self.item is not None and not self.fresh and self.state != "closing":
            return [Check(self.thread, self.item.etag)]
        return self.rewritten()

    def rewritten(self) -> Sequence[Write]:
        """The writes that store the item itself, in place of what was there."""
        put = Put(
            self.thread,
            self._value(self.removals, "kept" if self.state == "closing" else self.state),
            If.ABSENT if self.item is None else self.item.etag,
        )
        return [put] if self.gone is None else [put, garbage_record(_MANY, prefixes=(key(_BASE, number(self.gone)),))]

    def removing(self) -> Put:
        """The write for a batch that removes or replaces something: from there on nobody counts on what was stored before."""
        assert self.item is not None
        return Put(self.thread, self._value(self.removals + 1, "kept"), self.item.etag)

    def after(self, removing: Put, known: Mapping[bytes, Ref] | None = None) -> ThreadRoot:
        """This root once the batch with that write was applied. `known` are parts that a document needs that was put with it."""
        item = Item(self.thread, removing.value, removing.etag, 0)
        root = ThreadRoot(self.thread, self.thread_id, self.incarnation, self.removals + 1, item=item)
        root.know(known or {})
        return root

    def closing(self) -> Put:
        """The write that announces a deletion: whoever puts something afterwards takes that back."""
        assert self.item is not None
        return Put(self.thread, self._value(self.removals + 1, "closing"), self.item.etag)

    def deleted(self) -> Sequence[Write]:
        """The writes that remove all of it for whoever reads, promise to free it, and keep late writes out for an hour."""
        assert self.item is not None
        gone: Write = Delete(self.thread, self.item.etag)
        if self.state != "copying":  # of that nobody knew
            gone = Put(self.thread, self._value(self.removals, "deleted"), self.item.etag, _TOMBSTONE_MS)
        return [gone, garbage_record(_MANY, prefixes=(self.base,))]

    def written(self, guard: Sequence[Write]) -> None:
        """The batch with this guard was applied."""
        if isinstance(guard[0], Put):
            self.item = Item(self.thread, guard[0].value, guard[0].etag, 0)
            self.gone, self.fresh = None, False
            self.state = "kept" if self.state == "closing" else self.state

    def next_ref(self, stream: str) -> Ref:
        """A number for a part that is about to be stored; it is never given again, whatever becomes of that."""
        if stream not in self.streams and len(self.streams) >= _STREAMS:
            stream = ""
        numbers = self.streams.setdefault(stream, [randbelow(10**16), 0])
        numbers[1] += 1
        return numbers[0], numbers[1] - 1

    def know(self, parts: Mapping[bytes, Ref]) -> None:
        """These parts are stored."""
        self.known.update(parts)
        self.refs.update(parts.values())

    def remember(self, items: Mapping[Key, Item | None]) -> None:
        """This is what lies there."""
        if len(self.items) + len(items) > _ITEMS_REMEMBERED:
            self.items.clear()
        self.items.update(items)

    def _value(self, removals: int, state: str) -> str:
        return f"{self.incarnation} {removals} {state} {self.thread_id}"


class ThreadCache:
    """What this process remembers of threads: guesses, that `guard` holds against what is stored."""

    def __init__(self) -> None:
        self._roots: OrderedDict[str, ThreadRoot] = OrderedDict()

    def get(self, thread_id: str) -> ThreadRoot | None:
        """What is remembered."""
        return self._roots.get(thread_id)

    def keep(self, root: ThreadRoot) -> None:
        """Remember it, and forget whom nobody asked for longest."""
        self._roots[root.thread_id] = root
        self._roots.move_to_end(root.thread_id)
        parts = sum(len(each.known) for each in self._roots.values()) if len(root.known) > 64 else 0
        while len(self._roots) > 1 and (len(self._roots) > _THREADS_REMEMBERED or parts > _PARTS_REMEMBERED):
            _, forgotten = self._roots.popitem(last=False)
            parts -= len(forgotten.known)
        if parts > _PARTS_REMEMBERED:
            root.known.clear()
            root.refs.clear()

    def forget(self, root: ThreadRoot) -> None:
        """It is no longer so."""
        if self._roots.get(root.thread_id) is root:
            del self._roots[root.thread_id]


def thread_key(thread_id: str) -> Key:
    """Where a thread's place is named."""
    return key(THREADS, text(thread_id))


def root_of(thread_id: str, item: Item | None, *, anew: bool = False) -> ThreadRoot:
    """What the item says; a new place where there is none, where a copy is not finished, or if it has to be `anew`."""
    thread = thread_key(thread_id)
    if item is None:
        return ThreadRoot(thread, thread_id, randbelow(10**16), fresh=True)
    match str(item.value).split(" ", 3):
        case [incarnation, removals, state, str()] if (
            incarnation.isdecimal() and len(incarnation) <= 16 and removals.isdecimal() and state in _STATES
        ):
            if anew:
                gone = int(incarnation) if state == "copying" else None
                return ThreadRoot(thread, thread_id, randbelow(10**16), item=item, fresh=True, gone=gone)
            return ThreadRoot(thread, thread_id, int(incarnation), int(removals), state, item)
    raise CorruptDataError(f"the item at {thread!r} does not name any checkpoints")


def root_at(item: Item) -> ThreadRoot:
    """What an item says that was found without knowing its thread, whose id it has itself."""
    return root_of(str(item.value).split(" ", 3)[-1], item)
