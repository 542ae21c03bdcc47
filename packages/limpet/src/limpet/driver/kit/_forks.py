"""Forks: waiting until no call is half done, and releasing in the child what belongs to the parent."""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import socket
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from time import monotonic
from weakref import WeakKeyDictionary, WeakSet

from ..._errors import ForkedError

__all__ = ["Inherited", "check_loop", "check_process", "descriptor_of", "forked_since", "hang_up", "silence"]

_PATIENCE = 5.0
"""Maximum seconds that a fork waits until nothing is half done."""


class Inherited(ABC):
    """Something that a forked child must release. Call `inherited()` once it may be forked.

    None of the three methods may raise an error. They run in the forking thread.
    """

    def before_fork(self, deadline: float) -> None:
        """In the parent: wait until nothing is half done, at most until `time.monotonic()` reaches the deadline."""
        return

    def after_fork(self) -> None:
        """In the parent: continue."""
        return

    @abstractmethod
    def forked(self) -> None:
        """In the child, whose other threads are gone: release everything, without sending or writing anything."""

    def inherited(self) -> None:
        """Notify this object of forks from now on, for as long as it lives."""
        with _mutex:
            _things.add(self)


def forked_since(process: int) -> bool:
    """Return whether this process is a child of the process with that id (`os.getpid()`), not that process itself."""
    return process != os.getpid()


def check_process(opened_by: int, what: str) -> None:
    """Raise `ForkedError` unless this is the process that opened it."""
    if forked_since(opened_by):
        raise ForkedError(
            f"{what} was opened by the parent of this process, before a fork: open a new one here, on an event loop of "
            "this process (asyncio.run)"
        )


def check_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Raise `ForkedError` for an event loop on which drivers were opened in a parent of this process."""
    if _loops.setdefault(loop, os.getpid()) != os.getpid():
        raise ForkedError(
            "this event loop belongs to the parent of this process, which forked it: start a new one in this process "
            "(asyncio.run) and open the driver there"
        )


_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()


def _isolate(loop: asyncio.AbstractEventLoop) -> None:
    """In a child: make sure that an inherited event loop, if someone runs it, takes no events from the parent's.

    The two share an `epoll` and the socket that wakes the loop for threads. If the child reads such an event, the
    parent misses it, and its call hangs. The loop still learns that the silenced sockets have ended.
    """
    selector = getattr(loop, "_selector", None)
    waking = [plug for name in ("_ssock", "_csock") if (plug := getattr(loop, name, None)) is not None]
    if loop.is_closed() or not isinstance(selector, selectors.EpollSelector) or len(waking) != 2:
        return  # not an asyncio loop, or a system where children do not inherit event queues
    with select.epoll() as fresh:
        os.dup2(fresh.fileno(), selector.fileno(), inheritable=False)
    for inherited, ours in zip(waking, socket.socketpair(), strict=True):
        with ours:
            ours.setblocking(False)
            os.dup2(ours.fileno(), inherited.fileno(), inheritable=False)
    with select.epoll.fromfd(os.dup(selector.fileno())) as own:
        for descriptor in {waking[0].fileno(), *(_silenced & selector.get_map().keys())}:
            own.register(descriptor, select.EPOLLIN)


def silence(descriptor: int) -> None:
    """Replace an inherited socket by a dead one: what is written goes nowhere, and reading returns the end.

    This affects neither the parent's connection nor its event loop, whose `epoll` the child shares.
    """
    ours, other = socket.socketpair()
    try:
        ours.setblocking(False)
        other.close()
        os.dup2(ours.fileno(), descriptor, inheritable=False)
    finally:
        ours.close()
    _silenced.add(descriptor)


def descriptor_of(transport: asyncio.BaseTransport | None) -> int | None:
    """Return the descriptor of a transport's socket; `None` if it is closed."""
    plug = None if transport is None else transport.get_extra_info("socket")
    return None if plug is None or plug.fileno() < 0 else int(plug.fileno())


def hang_up(transport: asyncio.BaseTransport | None) -> None:
    """End a connection for the server too, even if a forked child has its socket open."""
    if (descriptor := descriptor_of(transport)) is None:
        return
    with socket.socket(fileno=os.dup(descriptor)) as plug, suppress(OSError):  # it may have ended on its own
        plug.shutdown(socket.SHUT_RDWR)


_silenced: set[int] = set()
_mutex = threading.RLock()
_things: WeakSet[Inherited] = WeakSet()
_told: list[Inherited] = []
"""The objects that were notified of the current fork."""


def _before() -> None:
    _mutex.acquire()  # so that nothing is added before the fork is over
    deadline = monotonic() + _PATIENCE
    for thing in list(_things):
        _told.append(thing)
        thing.before_fork(deadline)


def _in_parent() -> None:
    try:
        while _told:
            _told.pop().after_fork()
    finally:
        _mutex.release()


def _in_child() -> None:
    try:
        while _told:
            _told.pop().forked()
        for loop in list(_loops):
            _isolate(loop)
        _silenced.clear()
    finally:
        _mutex.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
