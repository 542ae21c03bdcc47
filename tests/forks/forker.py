"""A program that opens a place, forks four children and says what each of them, and itself, saw.

    python forker.py URL LOOP PARENT

`LOOP` is where the children work: `same` (the parent's event loop), `new`, or `inside` (a new one, after a fork in the middle
of a coroutine, while calls are under way). `PARENT` is what the parent does meanwhile: `goes on`, `closes` or `dies`.
Each process writes lines of JSON: who it is, what was acknowledged, what went wrong.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import sys
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from limpet import ForkedError, Persistence, create_persistence
from limpet.driver import Put, Range, key, name, text

URL, LOOP, PARENT = sys.argv[1:]
WRITES = 12
SECONDS = 20.0
"""What nothing may take."""

warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads: that is the point
warnings.simplefilter("ignore", ResourceWarning)


def say(who: str, **said: object) -> None:
    os.write(1, (json.dumps({"who": who, **said}) + "\n").encode())


async def write(persistence: Persistence, who: str, count: int = WRITES) -> list[tuple[int, str]]:
    """The number and the content of each message that was acknowledged, and of an item for each."""
    done = []
    for n in range(count):
        message = await persistence.sessions.add_message("s", {"subtype": "user", "content": f"{who} {n}"}, create=True)
        await persistence.driver.apply([Put(key(name("forks"), text(f"{who} {n}")), who * 200)])
        assert message.seq is not None
        done.append((message.seq, f"{who} {n}"))
    return done


async def uses(persistence: Persistence, queue: Any) -> None:
    """Each first use is refused by name."""
    driver = persistence.driver
    at = key(name("forks"), text("x"))
    calls: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        ("get", lambda: driver.get([at])),
        ("apply", lambda: driver.apply([Put(at, "the child's")])),
        ("scan", lambda: driver.scan(Range(name("forks")))),
        ("clear", lambda: driver.clear("")),
        ("purge", driver.purge),
        ("health", driver.health),
        ("kv", lambda: persistence.kv(str, "n").set("k", "v")),
        ("add_message", lambda: persistence.sessions.add_message("s", {"subtype": "user", "content": "the child's"})),
        ("publish", lambda: queue.publish("c", 1)),
    ]
    for called, call in calls:
        try:
            await asyncio.wait_for(call(), SECONDS)
        except ForkedError:
            continue
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test shows it
            say("uses", wrong=f"{called}: {error!r}")
        else:
            say("uses", wrong=f"{called} went through")


async def closes(persistence: Persistence, queue: Any) -> None:
    await asyncio.wait_for(queue.aclose(), SECONDS)
    await asyncio.wait_for(persistence.aclose(), SECONDS)


async def leaves(persistence: Persistence, queue: Any) -> None:
    return


async def opens(persistence: Persistence, queue: Any) -> None:
    async def own() -> None:
        async with create_persistence(URL) as mine:
            done = await write(mine, "opens")
            say("opens", acknowledged=done)
            assert len(await mine.sessions.get_messages("s")) >= WRITES

    try:
        await asyncio.wait_for(own(), SECONDS)
    except ForkedError:
        if LOOP != "same":
            raise


CHILDREN = [uses, closes, leaves, opens]


def ports() -> set[int]:
    """The local ends of this process's connections."""
    found = set()
    for descriptor in range(3, 256):
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
        except OSError:
            continue
        with socket.socket(fileno=os.dup(descriptor)) as plug, suppress(OSError):
            plug.getpeername()
            if plug.family in (socket.AF_INET, socket.AF_INET6):
                found.add(plug.getsockname()[1])
    return found


class Fork:
    """The children, who begin when the parent says so, or is gone."""

    def __init__(self) -> None:
        self.go_reading, self.go_writing = os.pipe()
        self.children: list[int] = []

    def child(self) -> int | None:
        """The number of a child, in that child."""
        for n in range(len(CHILDREN)):
            process = os.fork()
            if not process:
                os.close(self.go_writing)
                return n
            self.children.append(process)
        os.close(self.go_reading)
        return None

    def wait(self) -> None:
        """In a child."""
        os.read(self.go_reading, 1)

    def go(self) -> None:
        os.close(self.go_writing)

    async def ended(self) -> None:
        for process in self.children:
            await asyncio.to_thread(os.waitpid, process, 0)


def in_child(
    n: int, fork: Fork, run: Callable[[Coroutine[Any, Any, None]], object], persistence: Persistence, queue: Any
) -> None:
    who = CHILDREN[n].__name__
    fork.wait()
    try:
        run(CHILDREN[n](persistence, queue))
        say(who, ended=True)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test shows it
        say(who, wrong=repr(error))


async def opened() -> tuple[Persistence, Any]:
    persistence = await create_persistence(URL)
    queue = persistence.events()
    await queue.start()
    await queue.subscribe("c", lambda event: None)
    say("parent", acknowledged=await write(persistence, "before"))
    return persistence, queue


async def afterwards(fork: Fork, persistence: Persistence, queue: Any) -> None:
    """What the parent does."""
    if PARENT == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if PARENT == "closes":
        await queue.aclose()
        await persistence.aclose()
        fork.go()
        await fork.ended()
        return
    had = ports()
    fork.go()
    say("parent", acknowledged=await write(persistence, "beside"))
    await fork.ended()
    say("parent", acknowledged=await write(persistence, "after"))
    if lost := had - ports():
        say("parent", wrong=f"connections were lost: {lost}")
    await queue.aclose()
    await persistence.aclose()
    say("parent", ended=True)


async def inside() -> None:
    persistence, queue = await opened()
    busy = [asyncio.create_task(write(persistence, f"busy{n}", 1000)) for n in range(4)]
    await asyncio.sleep(0.05)
    fork = Fork()
    n = fork.child()
    if n is not None:
        in_child(n, fork, asyncio.run, persistence, queue)
        if CHILDREN[n] is leaves:
            sys.exit()  # asyncio cancels what it believes to be its own, and Python collects it
        os._exit(0)
    for task in busy:
        task.cancel()
    await asyncio.gather(*busy, return_exceptions=True)
    await afterwards(fork, persistence, queue)


def outside() -> None:
    loop = asyncio.new_event_loop()
    persistence, queue = loop.run_until_complete(opened())
    fork = Fork()
    n = fork.child()
    if n is not None:
        in_child(n, fork, loop.run_until_complete if LOOP == "same" else asyncio.run, persistence, queue)
        return  # Python ends as it does, and collects what it inherited
    loop.run_until_complete(afterwards(fork, persistence, queue))


if LOOP == "inside":
    asyncio.run(inside())
else:
    outside()
