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
"""Seconds for which a fork waits at most until nothing is half done."""


class Inherited(ABC):
    """Something that a child of `fork` must let go of. Call `inherited()` once it may be forked.

    None of the three methods may raise. They run in the thread that forks.
    """

    def before_fork(self, deadline: float) -> None:
        """In the parent: wait until nothing is half done, until `time.monotonic()` reaches the deadline at most."""
        return

    def after_fork(self) -> None:
        """In the parent: go on."""
        return

    @abstractmethod
    def forked(self) -> None:
        """In the child, whose other threads are gone: let go of everything, without a word to a server or a file."""

    def inherited(self) -> None:
        """From now on, and for as long as it lives, this object is told of forks."""
        with _mutex:
            _things.add(self)


def forked_since(process: int) -> bool:
    """Whether this is a child of the process with that number (`os.getpid()`), and not that process itself."""
    return process != os.getpid()


def check_process(opened_by: int, what: str) -> None:
    """Raises `ForkedError` unless this is the process that opened it."""
    if forked_since(opened_by):
        raise ForkedError(
            f"{what} was opened by the parent of this process, before a fork: open a new one here, on an event loop of "
            "this process (asyncio.run)"
        )


def check_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Raises `ForkedError` for an event loop that drivers were opened on in a parent of this process."""
    if _loops.setdefault(loop, os.getpid()) != os.getpid():
        raise ForkedError(
            "this event loop belongs to the parent of this process, which forked it: start a new one in this process "
            "(asyncio.run) and open the driver there"
        )


_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()


def _isolate(loop: asyncio.AbstractEventLoop) -> None:
    """In a child: let an inherited event loop, should somebody run it, take no events from the parent's.

    The two share an `epoll` and the socket that wakes the loop for threads: one that the child reads the parent misses,
    and its call hangs. The loop still hears that what was silenced has ended.
    """
    selector = getattr(loop, "_selector", None)
    waking = [plug for name in ("_ssock", "_csock") if (plug := getattr(loop, name, None)) is not None]
    if loop.is_closed() or not isinstance(selector, selectors.EpollSelector) or len(waking) != 2:
        return  # another loop than asyncio's, or a system whose queues of events no child inherits
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
    """Put a dead socket in the place of an inherited one: what is written goes nowhere, what is read is the end.

    The parent's connection is not touched, and neither is its event loop, whose `epoll` the child shares.
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
    """The descriptor of a transport's socket, `None` where it is closed."""
    plug = None if transport is None else transport.get_extra_info("socket")
    return None if plug is None or plug.fileno() < 0 else int(plug.fileno())


def hang_up(transport: asyncio.BaseTransport | None) -> None:
    """End a connection for the server too, although a child of a fork may have its socket open."""
    if (descriptor := descriptor_of(transport)) is None:
        return
    with socket.socket(fileno=os.dup(descriptor)) as plug, suppress(OSError):  # it may have ended by itself
        plug.shutdown(socket.SHUT_RDWR)


_silenced: set[int] = set()
_mutex = threading.RLock()
_things: WeakSet[Inherited] = WeakSet()
_told: list[Inherited] = []
"""Those that were told of the fork that is under way."""


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
