"""The root item of a thread's checkpoints, and a cache of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from secrets import randbelow

from ..._errors import CorruptDataError
from ...driver import Check, Delete, If, Item, Key, Put, Write, key, name, number, text
from ...structures import garbage_record

__all__ = ["ThreadRoot", "ThreadCache", "ThreadMovedError", "root_of", "thread_key"]

_THREADS, _BASE = name("checkpoints.threads"), name("checkpoints")
_THREADS_REMEMBERED, _PARTS_REMEMBERED = 256, 4096
_MANY = 10_000
"""Items of a thread, for its garbage record: nobody counted them, so their collection is left for later."""


class ThreadMovedError(Exception):
    """The thread was deleted, made anew, or pruned, since it was read. Begin again; nobody outside sees this."""


@dataclass(slots=True)
class ThreadRoot:
    """Where the checkpoints of a thread lie, as `checkpoints.threads!@<thread>` says: number, prunes, `copying` if so.

    Every batch that adds to it asks whether that item is still the same. So nothing is added to what was deleted, and what
    `parts` says is stored is stored: pruning changes the item before it frees anything.
    """

    thread: Key
    incarnation: int
    prunes: int = 0
    copying: bool = False
    item: Item | None = None
    """As it is stored; `None` before."""
    gone: int | None = None
    """The number of what somebody else left half copied, to be freed when this is written."""
    parts: set[str] = field(default_factory=set)
    """Digests of parts that are stored."""
    heads: dict[str, Item | None] = field(default_factory=dict)
    """By namespace, as far as this process knows."""

    @property
    def base(self) -> Key:
        return key(_BASE, number(self.incarnation))

    def is_named_by(self, item: Item) -> bool:
        """Whether the item says that this is where the thread lies, and all of it."""
        named = root_of(self.thread, item)
        return named.incarnation == self.incarnation and not named.copying

    def guard(self) -> Sequence[Write]:
        """The writes that make the rest of their batch stand or fall with the thread."""
        if self.item is not None and self.gone is None:
            return [Check(self.thread, self.item.etag)]
        return self.rewritten()

    def rewritten(self) -> Sequence[Write]:
        """The writes that store the item itself, in place of what was there."""
        value = f"{self.incarnation} {self.prunes}{' copying' * self.copying}"
        put = Put(self.thread, value, If.ABSENT if self.item is None else self.item.etag)
        return [put] if self.gone is None else [put, garbage_record(_MANY, prefixes=(key(_BASE, number(self.gone)),))]

    def removed(self) -> Sequence[Write]:
        """The writes that remove all of it for whoever reads, and promise to free it."""
        assert self.item is not None
        return [Delete(self.thread, self.item.etag), garbage_record(_MANY, prefixes=(self.base,))]

    def written(self, guard: Sequence[Write]) -> None:
        """The batch with this guard was applied."""
        if isinstance(guard[0], Put):
            self.item = Item(self.thread, guard[0].value, guard[0].etag, 0)
            self.gone = None

    def remember(self, digests: Sequence[str]) -> None:
        """These parts are stored."""
        if len(self.parts) + len(digests) > _PARTS_REMEMBERED:
            self.parts.clear()
        self.parts.update(digests)


class ThreadCache:
    """What this process remembers of threads: guesses, that `guard` holds against what is stored."""

    def __init__(self) -> None:
        self._roots: OrderedDict[str, ThreadRoot] = OrderedDict()

    def get(self, thread_id: str) -> ThreadRoot | None:
        """What is remembered."""
        return self._roots.get(thread_id)

    def keep(self, thread_id: str, root: ThreadRoot) -> None:
        """Remember it, and forget whom nobody asked for longest."""
        self._roots[thread_id] = root
        self._roots.move_to_end(thread_id)
        if len(self._roots) > _THREADS_REMEMBERED:
            self._roots.popitem(last=False)

    def forget(self, thread_id: str) -> None:
        """It is no longer so."""
        self._roots.pop(thread_id, None)


def thread_key(thread_id: str) -> Key:
    """Where a thread's place is named."""
    return key(_THREADS, text(thread_id))


def root_of(thread: Key, item: Item | None, *, anew: bool = False) -> ThreadRoot:
    """What the item says; a new place where there is none, where a copy is not finished, or if it has to be `anew`."""
    if item is None:
        return ThreadRoot(thread, randbelow(10**16))
    match str(item.value).split(" "):
        case [incarnation, prunes, *rest] if (
            incarnation.isdecimal() and prunes.isdecimal() and rest in ([], ["copying"])
        ):
            if anew:
                return ThreadRoot(thread, randbelow(10**16), item=item, gone=int(incarnation))
            return ThreadRoot(thread, int(incarnation), int(prunes), rest == ["copying"], item)
    raise CorruptDataError(f"the item at {thread!r} does not name any checkpoints")
