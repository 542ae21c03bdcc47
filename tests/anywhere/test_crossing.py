"""What crosses to another event loop and back: outcomes, cancellation, time, context, blocks, iterators and callbacks."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from limpet import (
    ClosedError,
    ConfigurationError,
    ForeignLoopError,
    InvalidKeyError,
    LeaseTimeoutError,
    NestedLeaseError,
    NotFoundError,
    Persistence,
    UnavailableError,
    UnsupportedError,
    create_persistence,
    open_persistence,
    open_persistence_from_env,
    open_storage,
    sync,
)
from limpet._portal import Portal
from limpet._portal._loops import LoopThread
from limpet.driver import MemoryDriver
from limpet.records import UserMessage
from limpet.stores import SessionRepository, Storage
from limpet.wrappers import Wrapper

R = TypeVar("R")

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


async def nothing() -> None:
    pass


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal(nothing)
    yield portal
    portal.end()


@pytest.fixture
def persistence() -> Iterator[Persistence]:
    persistence = open_persistence("memory://")
    yield persistence
    asyncio.run(persistence.aclose())


def on_a_loop_of_its_own(call: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """As in another thread of a web server, or in a test client."""
    found: list[R] = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(call())))
    thread.start()
    thread.join()
    return found[0]


def assert_threads(count: int) -> None:
    """There are as many threads as before, at the latest when those that were told to end have ended."""
    until = time.monotonic() + 10
    while threading.active_count() > count and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() == count


# Opening and closing.


def test_nothing_happens_before_the_first_call(tmp_path: Any) -> None:
    threads = threading.active_count()
    persistence = open_persistence(f"sqlite:///{tmp_path}/agent.db")
    assert threading.active_count() == threads
    assert list(tmp_path.iterdir()) == []
    assert asyncio.run(persistence.kv(int, "n").get("a")) is None
    assert (tmp_path / "agent.db").exists()
    asyncio.run(persistence.aclose())
    assert_threads(threads)


def test_what_is_wrong_with_the_address_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError, match="nosuch://"):
        open_persistence("nosuch://x")
    with pytest.raises(ConfigurationError, match="no path"):
        open_storage("memory:///x")


async def test_an_open_driver_is_refused() -> None:
    async with MemoryDriver() as driver:
        with pytest.raises(ConfigurationError, match="belongs to one event loop"):
            open_persistence(driver)


def test_opening_that_failed_is_tried_again() -> None:
    class Down(Wrapper):
        tries = 0

        async def open(self) -> None:
            Down.tries += 1
            if Down.tries == 1:
                raise UnavailableError("still starting")
            await super().open()

    persistence = open_persistence("memory://", wrappers=[Down])
    with pytest.raises(UnavailableError, match="still starting"):
        asyncio.run(persistence.kv(int, "n").get("a"))
    assert asyncio.run(persistence.kv(int, "n").get("a")) is None
    assert Down.tries == 2
    asyncio.run(persistence.aclose())


def test_closing_without_a_call_and_twice() -> None:
    persistence = open_persistence("memory://")
    asyncio.run(persistence.aclose())
    asyncio.run(persistence.aclose())
    with pytest.raises(ClosedError):
        asyncio.run(persistence.kv(int, "n").get("a"))
    with sync.create_persistence("memory://") as other:
        pass
    other.close()
    with pytest.raises(ClosedError):
        other.kv(int, "n").get("a")


def test_a_call_that_is_under_way_when_it_is_closed_ends() -> None:
    opened = sync.create_persistence("memory://")
    outcomes: list[object] = []

    def claim() -> None:
        try:
            outcomes.append(opened.work("jobs").claim(wait=60))
        except ClosedError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=claim) for _ in range(5)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    opened.close()
    for thread in threads:
        thread.join(10)
    assert [type(outcome) for outcome in outcomes] == [ClosedError] * 5


def test_what_is_dropped_ends_its_thread() -> None:
    before = threading.active_count()
    persistence = open_persistence("memory://")
    asyncio.run(persistence.kv(int, "n").set("a", 1))
    opened = sync.create_persistence("memory://")
    opened.sessions.session_exists("s")
    assert threading.active_count() == before + 2
    del persistence, opened
    gc.collect()
    assert_threads(before)


def test_a_thread_for_each_place_and_none_is_left() -> None:
    before = threading.active_count()
    for _ in range(50):
        with sync.create_persistence("memory://") as persistence:
            persistence.sessions.session_exists("s")
            assert threading.active_count() == before + 1
    assert threading.active_count() == before


# Several loops and threads.


def test_many_loops_and_threads_see_one_place(persistence: Persistence) -> None:
    async def add(n: int) -> list[int]:
        store = persistence.kv(int, "n")
        await store.set(f"k{n}", n)
        async with persistence.state(dict, "shared", factory=dict) as state:
            state["n"] = state.get("n", 0) + 1
        return [value async for _, value in store.list()]

    with_threads = [on_a_loop_of_its_own(partial(add, n)) for n in range(4)]
    assert with_threads[-1] == [0, 1, 2, 3]
    plain = sync.Persistence.of(persistence)
    threads = [threading.Thread(target=plain.kv(int, "n").set, args=(f"t{n}", n)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(plain.kv(int, "n").keys())) == 12
    assert plain.state(dict, "shared", factory=dict).get_state() == {"n": 4}


def test_the_faces_are_of_the_same_classes(persistence: Persistence) -> None:
    assert isinstance(persistence, Persistence)
    assert isinstance(open_storage("memory://"), Storage)
    assert persistence.sessions is persistence.sessions
    assert persistence.threads.feedback is persistence.threads.feedback
    assert persistence.driver is persistence.driver
    with pytest.raises(AttributeError):
        persistence.sessions._driver  # noqa: B018
    assert persistence.sessions.add_message.__doc__ == SessionRepository.add_message.__doc__
    assert isinstance(persistence.sessions, SessionRepository)


async def test_a_persistence_of_this_loop_for_other_threads() -> None:
    async with create_persistence("memory://") as persistence:
        plain = sync.Persistence.of(persistence)
        with pytest.raises(ForeignLoopError, match=r"asyncio\.to_thread"):
            plain.sessions.session_exists("s")
        await asyncio.to_thread(plain.kv(int, "n").set, "a", 1)
        assert await persistence.kv(int, "n").get("a") == 1

        def block() -> None:
            with plain.state(dict, "s", factory=dict) as state:
                state["a"] = 1

        await asyncio.to_thread(block)
        assert await persistence.state(dict, "s", factory=dict).get_state() == {"a": 1}
    with pytest.raises(ClosedError):
        await asyncio.to_thread(plain.kv(int, "n").get, "a")


def test_a_thread_does_not_wait_for_a_loop_that_is_gone() -> None:
    async def opened() -> sync.Persistence:
        return sync.Persistence.of(await create_persistence("memory://"))

    plain = asyncio.run(opened())
    with pytest.raises((ClosedError, ForeignLoopError)):
        plain.sessions.session_exists("s")
    caught: list[BaseException] = []

    def call() -> None:
        try:
            plain.sessions.session_exists("s")
        except BaseException as error:  # noqa: BLE001 - handed to the test
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(10)
    assert isinstance(caught[0], ClosedError)


# Outcomes.


async def test_errors_come_as_they_are(persistence: Persistence) -> None:
    with pytest.raises(NotFoundError, match="'no'"):
        await persistence.sessions.add_message("no", UserMessage(content="x"))
    with pytest.raises(InvalidKeyError):
        await persistence.kv(int, "n").get(3)  # type: ignore[arg-type]
    plain = sync.Persistence.of(persistence)
    with pytest.raises(NotFoundError, match="'no'"):
        plain.sessions.add_message("no", UserMessage(content="x"))


async def test_an_error_keeps_nothing_alive(portal: Portal) -> None:
    class Argument:
        pass

    async def fail(argument: Argument) -> None:
        raise ValueError("no")

    async def cross() -> None:
        argument = Argument()
        with pytest.raises(ValueError, match="no"):
            await portal.cross(fail, argument)

    await cross()
    async with asyncio.timeout(10):  # the other thread may be about to let go of it
        while gc.collect() is not None and any(isinstance(each, Argument) for each in gc.get_objects()):
            await portal.cross(nothing)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_callers_function_that_ends_the_program_does_not_end_the_loop(error: type[BaseException]) -> None:
    def change(value: int) -> int:
        raise error

    with sync.create_persistence("memory://") as persistence:
        store = persistence.kv(int, "n")
        store.set("a", 1)
        with pytest.raises(error):
            store.update("a", change)
        assert store.get("a") == 1


async def test_a_function_that_calls_what_waits_for_it_is_told(persistence: Persistence) -> None:
    plain = sync.Persistence.of(persistence)
    await persistence.kv(int, "n").set("a", 1)
    with pytest.raises(ForeignLoopError, match="would wait for"):
        await persistence.kv(int, "n").update("a", lambda value: plain.kv(int, "n").get("a") or 0)


# Cancellation and time.


async def test_a_time_out_ends_the_call_there_too(portal: Portal) -> None:
    ended = threading.Event()

    async def long() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            ended.set()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await portal.cross(long)
    assert ended.is_set(), "the caller waits until it has ended"
    with anyio.move_on_after(0.05) as scope:
        await portal.cross(long)
    assert scope.cancelled_caught


async def test_a_call_that_is_cancelled_begins_all_the_same(portal: Portal) -> None:
    begun = []

    async def call() -> None:
        begun.append(1)
        await asyncio.sleep(60)

    for turns in range(6):
        task = asyncio.create_task(portal.cross(call))
        for _ in range(1 + turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(begun) == 6


async def test_cancelled_ten_times(portal: Portal) -> None:
    async def stubborn() -> str:
        for _ in range(3):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)
        return "done"

    task = asyncio.create_task(portal.cross(stubborn))
    for _ in range(10):
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_what_came_too_late_is_given_back(portal: Portal) -> None:
    given_back = []

    async def take() -> str:
        time.sleep(0.05)  # noqa: ASYNC251 - so that the cancellation comes when it has ended
        return "it"

    async def give_back(taken: str) -> None:
        given_back.append(taken)

    task = asyncio.create_task(portal.take_across(give_back, take))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert given_back == ["it"]


def test_an_interrupted_call_is_cancelled_and_given_back() -> None:
    def interrupt(number: int, frame: object) -> None:
        raise InterruptedError

    with sync.create_persistence("memory://") as persistence:
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            started = time.monotonic()
            with pytest.raises(InterruptedError):
                persistence.work("jobs").claim(wait=60)
            assert time.monotonic() - started < 30
        finally:
            signal.signal(signal.SIGALRM, before)
        persistence.work("jobs").put("job")
        (job,) = persistence.work("jobs").claim()
        job.complete()


def test_interrupted_when_the_call_has_just_ended(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    given_back = []
    wait = LoopThread.wait

    def interrupted(self: LoopThread, notified: threading.Lock) -> None:
        wait(self, notified)
        raise KeyboardInterrupt

    async def take() -> str:
        return "it"

    async def give_back(taken: str) -> None:
        given_back.append(taken)

    portal.call(nothing)
    monkeypatch.setattr(LoopThread, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        portal.take(give_back, take)
    monkeypatch.setattr(LoopThread, "wait", wait)
    portal.call(nothing)
    assert given_back == ["it"]


# Context and identity.


async def test_context_variables_are_those_of_the_caller(persistence: Persistence) -> None:
    seen = []

    def change(value: int) -> int:
        seen.append(WHO.get())
        return value + 1

    store = persistence.kv(int, "n")
    await store.set("a", 0)
    WHO.set("the task")
    await store.update("a", change)

    def elsewhere() -> None:
        WHO.set("the thread")
        sync.Persistence.of(persistence).kv(int, "n").update("a", change)

    await asyncio.get_running_loop().run_in_executor(None, elsewhere)
    assert seen == ["the task", "the thread"]
    assert WHO.get() == "the task"


def test_a_lease_belongs_to_the_thread_that_took_it() -> None:
    with sync.create_persistence("memory://") as persistence:
        state = persistence.state(dict, "s", factory=dict, timeout=0.1)
        outcomes: list[type] = []

        def enter() -> None:
            try:
                with state:
                    outcomes.append(type(None))
            except (NestedLeaseError, LeaseTimeoutError) as error:
                outcomes.append(type(error))

        with state as held:
            held["a"] = 1
            enter()
            other = threading.Thread(target=enter)
            other.start()
            other.join()
        enter()
        assert outcomes == [NestedLeaseError, LeaseTimeoutError, type(None)]
        assert state.get_state() == {"a": 1}


async def test_what_a_task_starts_is_not_that_task(persistence: Persistence) -> None:
    async with persistence.state(dict, "s", factory=dict, timeout=0.05):
        with pytest.raises(LeaseTimeoutError):
            await asyncio.create_task(persistence.state(dict, "s", factory=dict, timeout=0.05).clear_state())


# What cannot be had.


def test_without_descriptors_for_an_event_loop_the_call_fails_and_a_later_one_works() -> None:
    script = """
import os, resource, sys
from limpet import sync, open_persistence
persistence = sync.open_persistence("memory://")
store = persistence.kv(int, "n")
warm = sync.create_persistence("memory://"); warm.close()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), hard))
try:
    store.get("a")
except OSError as error:
    print(error.errno)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(store.get("a"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("24\nNone\n", 0), done.stderr


# From the environment.


def test_what_the_environment_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIMPET_URL", f"sqlite:///{tmp_path.as_posix()}/a.db")
    with sync.create_persistence_from_env() as persistence:
        persistence.sessions.add_message("s1", UserMessage(content="Hello!"), create=True)
    anywhere = open_persistence_from_env()
    assert asyncio.run(anywhere.sessions.count_messages("s1")) == 1
    asyncio.run(anywhere.aclose())


def test_a_profile_with_a_database_for_each_namespace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LIMPET_URL", raising=False)
    monkeypatch.setenv("FAME_STORAGE_PROFILE", "encrypted-sqlite")
    monkeypatch.setenv("FAME_STORAGE_MASTER_KEY", "ab" * 32)
    monkeypatch.setenv("FAME_STORAGE_DB_DIRECTORY", str(tmp_path / "fame"))
    with sync.open_persistence_from_env() as persistence:
        assert not (tmp_path / "fame").exists(), "nothing before the first call"
        persistence.kv(int, "numbers").set("a", 1)
        with pytest.raises(UnsupportedError):
            persistence.sessions  # noqa: B018
    with sync.create_persistence_from_env() as persistence:
        assert persistence.kv(int, "numbers").get("a") == 1
    assert (tmp_path / "fame/numbers.db").exists()


def test_what_could_not_be_opened_is_closed_without_another_try() -> None:
    url = "postgresql://127.0.0.1:1/none?connect_timeout=1"
    for close in (
        lambda anywhere: asyncio.run(anywhere.aclose()),
        lambda anywhere: sync.Persistence.of(anywhere).close(),
    ):
        anywhere = open_persistence(url)
        with pytest.raises(UnavailableError):
            asyncio.run(anywhere.health())
        close(anywhere)
        close(anywhere)
        with pytest.raises(ClosedError):
            asyncio.run(anywhere.health())
