"""The functions of ours that four walks enter, each in a process of its own: `python walks.py WALK URL`, prints the count.

A function counts each time it is entered and not when it is resumed, on every thread. Threads that wait for work and locks between processes take as many steps as
the moment asks for, so their modules do not count, and of many runs the least does.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from types import FrameType
from typing import Any

from limpet import create_persistence, create_storage
from limpet.events import create_queue
from limpet.records import SessionRecord, UserMessage
from limpet.wrappers import encrypted

_RUNS = 100
_TIMED = ("_worker.py", "_file_lock.py", "sqlite/_client.py")
_RESUMES = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR
_FIRST = 4
"""The last instruction that a generator or coroutine has done when it is entered for the first time, and not resumed."""

entered: Counter[str] = Counter()
counting = False


def _profile(frame: FrameType, event: str, _argument: object) -> None:
    if not counting or event != "call":
        return
    code = frame.f_code
    if "/limpet" not in code.co_filename or code.co_filename == __file__ or code.co_filename.endswith(_TIMED):
        return
    if code.co_flags & _RESUMES and frame.f_lasti > _FIRST:
        return
    entered[f"{code.co_filename.rpartition('/')[2]} {code.co_name}"] += 1


async def _least(call: Callable[[], Awaitable[Any]]) -> Counter[str]:
    global counting
    found: list[Counter[str]] = []
    for _ in range(_RUNS):
        entered.clear()
        counting = True
        await call()
        counting = False
        found.append(entered.copy())
    return min(found, key=Counter.total)


async def add_message(url: str) -> Counter[str]:
    async with create_persistence(url) as persistence:
        await persistence.sessions.save_session(SessionRecord(session_id="s"))
        return await _least(lambda: persistence.sessions.add_message("s", UserMessage(content="x")))


async def get_item(url: str) -> Counter[str]:
    async with create_storage(url) as storage:
        await storage.set_item("a", 1)
        return await _least(lambda: storage.get_item("a"))


async def encrypted_set_item(url: str) -> Counter[str]:
    async with create_storage(url, wrappers=[encrypted(key=bytes(32))]) as storage:
        await storage.set_item("a", 1)
        return await _least(lambda: storage.set_item("a", 1))


async def publish(url: str) -> Counter[str]:
    """From a publish to the event that a subscriber on a driver of its own is given."""
    async with create_queue(url) as queue, create_queue(url) as elsewhere, aclosing(elsewhere.stream("walk")) as events:

        async def once() -> None:
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0.05)
            await queue.publish("walk", {"n": 1})
            await waiting

        await once()
        return await _least(once)


if __name__ == "__main__":
    threading.setprofile(_profile)
    sys.setprofile(_profile)
    found = asyncio.run({"add_message": add_message, "get_item": get_item, "encrypted_set_item": encrypted_set_item,
                         "publish": publish}[sys.argv[1]](sys.argv[2]))  # fmt: skip
    print(found.total())
    for function, times in sorted(found.items()):
        print(times, function, file=sys.stderr)
