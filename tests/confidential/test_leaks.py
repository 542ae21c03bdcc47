"""A canary as a password, as a key and as contents: no error shows it, however it is printed."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from limpet import (
    ConfigurationError,
    LimpetError,
    Persistence,
    create_persistence,
    create_storage,
    open_persistence,
    sync,
)
from limpet.driver import Driver, Item, MemoryDriver, Put, key, name, new_etag, number, text
from limpet.driver.kit import BaseDriver, hide_password, parse_url
from limpet.opening import driver_from_url
from limpet.profiles import profile_from_env
from limpet.records import ImageRecord, SessionRecord, UserMessage
from limpet.stores import KeyValueStore
from limpet.wrappers import encrypted
from pydantic import BaseModel

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]
"""PyMongo forgets the sockets of connections that were refused."""

CANARY = "S3CRET-canary"
HERE = str(Path(__file__))


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error and everything behind it, whether Python would print that or not."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and each not in seen:
            seen.append(each)
            waiting += [each.__cause__, each.__context__]
            yield each


def variables(error: BaseException) -> Iterator[str]:
    """What the frames of others than this file hold, as reporters of errors print it."""
    for each in chain(error):
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if frame.f_code.co_filename != HERE:
                yield from (f"{frame.f_code.co_qualname}: {name} = {value!r}" for name, value in frame.f_locals.items())


def leaks(error: BaseException, *, locals: bool) -> list[str]:
    found = [f"{type(each).__name__}: {shown}" for each in chain(error) for shown in (str(each), repr(each))]
    found += traceback.format_exception(error)
    if locals:
        found += variables(error)
        found += list(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    return [each for each in found if CANARY in each and HERE not in each]


# Passwords.

SERVERS = {
    "postgresql": "127.0.0.1:1/x",
    "mysql": "127.0.0.1:1/x",
    "redis": "127.0.0.1:1/0",
    "mongodb": "127.0.0.1:1/x",
}
PASSWORDS = {
    "plain": f":{CANARY}@",
    "slash": f":{CANARY}/x@",
    "slash first": f":x/{CANARY}@",
    "number, slash": f":123/{CANARY}@",
    "number, question mark": f":123?{CANARY}@",
    "hash": f":{CANARY}#x@",
    "hash first": f":x#{CANARY}@",
    "question mark": f":{CANARY}?x@",
    "question mark first": f":x?{CANARY}@",
    "option": f":x?a={CANARY}@",
    "blank": f":{CANARY} {CANARY}@",
    "bracket": f":[{CANARY}@",
    "at": f":x@{CANARY}@",
    "colon": f":x:{CANARY}@",
    "per cent": f":%{CANARY}@",
    "line feed": f":{CANARY}\n@",
    "token": "",
    "token, slash": "/",
}


def urls() -> dict[str, str]:
    made: dict[str, str] = {}
    for scheme, at in SERVERS.items():
        quick = "connect_timeout=0.5"
        for what, secret in PASSWORDS.items():
            user = f"{CANARY}{secret}@" if what.startswith("token") else f"bob{secret}"
            made[f"{scheme} {what}"] = f"{scheme}://{user}{at}?{quick}"
        made[f"{scheme} one slash"] = f"{scheme}:/bob:{CANARY}@{at}"
        made[f"{scheme} no slash"] = f"{scheme}:bob:{CANARY}@{at}"
        made[f"{scheme} three slashes"] = f"{scheme}:///bob:{CANARY}@{at}?{quick}"
        made[f"{scheme} bad port"] = f"{scheme}://bob:{CANARY}@127.0.0.1:99999/x"
        made[f"{scheme} unknown option"] = f"{scheme}://bob:x@{at}?foo={CANARY}"
        made[f"{scheme} password option"] = f"{scheme}://{at}?password={CANARY}&foo=1"
        made[f"{scheme} twice"] = f"{scheme}://{at}?pw={CANARY}&pw={CANARY}"
        made[f"{scheme} wrong value"] = f"{scheme}://{at}?pool_size={CANARY}"
        made[f"{scheme} wrong word"] = f"{scheme}://{at}?connect_timeout={CANARY}"
        made[f"{scheme} unknown"] = f"{scheme}x://bob:{CANARY}@{at}"
    made["sentinels"] = (
        f"redis+sentinel://bob:{CANARY}@127.0.0.1:1/name/0?sentinel_password={CANARY}&connect_timeout=0.5"
    )
    made["cluster"] = f"redis+cluster://bob:{CANARY}@127.0.0.1:1,127.0.0.1:2?connect_timeout=0.5"
    made["several"] = f"postgresql://bob:{CANARY}@127.0.0.1:1,127.0.0.1:2/x?connect_timeout=0.5"
    made["proxy"] = f"mongodb://127.0.0.1:1/x?proxyHost=127.0.0.1&proxyPassword={CANARY}&connect_timeout=0.5"
    made["key file"] = (
        f"mongodb://127.0.0.1:1/x?tls=true&tlsCertificateKeyFile=/no&tlsCertificateKeyFilePassword={CANARY}"
    )
    made["aws"] = (
        "mongodb://u:p@127.0.0.1:1/x?authMechanism=MONGODB-AWS&connect_timeout=0.5"
        f"&authMechanismProperties=AWS_SESSION_TOKEN:{CANARY}"
    )
    made["files"] = f"sqlite:///a.db?key={CANARY}"
    return made


URLS = urls()


@pytest.mark.parametrize("what", URLS)
async def test_no_password_is_in_an_error(what: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for create in (create_persistence, create_storage):
        async with asyncio.timeout(20):
            with pytest.raises(LimpetError) as caught:
                await create(URLS[what])
        assert leaks(caught.value, locals=True) == []
    assert CANARY not in caplog.text
    assert CANARY not in hide_password(URLS[what])


@pytest.mark.parametrize("what", ["redis slash", "redis no slash", "redis unknown option", "mysql wrong value"])
def test_nor_without_await(what: str) -> None:
    for open in (sync.create_persistence, open_persistence, sync.open_persistence, driver_from_url):
        with pytest.raises(ConfigurationError) as caught:
            open(URLS[what])
        assert leaks(caught.value, locals=True) == []


@pytest.mark.parametrize("scheme", SERVERS)
def test_no_password_is_in_the_repr_of_options_and_drivers(scheme: str) -> None:
    driver = driver_from_url(f"{scheme}://bob:{CANARY}@{SERVERS[scheme]}")
    shown = [repr(driver), *map(repr, vars(driver).values())]
    assert not [each for each in shown if CANARY in each]
    options = vars(driver)["_options"]
    assert CANARY in (options.url if hasattr(options, "url") else options.password)


def test_no_password_is_in_the_repr_of_a_profile_or_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMPET_URL", f"redis://bob:{CANARY}@h/0?sentinel_password={CANARY}")
    monkeypatch.setenv("LIMPET_ENCRYPTION_KEY", CANARY)
    profile = profile_from_env()
    assert CANARY not in repr(profile)
    assert CANARY not in repr(parse_url(str(profile.url)))
    monkeypatch.delenv("LIMPET_URL")
    monkeypatch.setenv("FAME_STORAGE_MASTER_KEY", CANARY)
    monkeypatch.setenv("FAME_STORAGE_PROFILE", f"redis:/bob:{CANARY}@h")
    with pytest.raises(ConfigurationError) as caught:
        profile_from_env()
    assert leaks(caught.value, locals=True) == []


# Keys.


def keys() -> dict[str, Any]:
    async def later() -> str:
        return CANARY

    return {
        "text": CANARY,
        "bytes": CANARY.encode(),
        "function": lambda: CANARY,
        "coroutine": later,
        "environment": "env://A_KEY",
        "a whole key, which is not this one's": CANARY.ljust(32)[:32].encode(),
    }


@pytest.mark.parametrize("what", keys())
async def test_no_encryption_key_is_in_an_error(what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("A_KEY", CANARY)
    url = f"sqlite:///{tmp_path}/a.db"
    async with create_persistence(url, wrappers=[encrypted(key="07" * 32)]):
        pass
    with pytest.raises(LimpetError) as caught:
        await create_persistence(url, wrappers=[encrypted(key=keys()[what], old_keys=[keys()[what]])])
    assert leaks(caught.value, locals=True) == []


async def test_nor_where_the_options_are_wrong() -> None:
    with pytest.raises(ConfigurationError) as caught:
        await create_persistence("memory://", wrappers=[encrypted(key=CANARY, old_keys=CANARY)])
    assert leaks(caught.value, locals=True) == []


# Contents.


class Model(BaseModel):
    a: int


Call = Callable[[Persistence], Awaitable[object]]


async def _numbers(persistence: Persistence) -> KeyValueStore[Model]:
    await persistence.kv(dict, "n").set("k", {"a": CANARY})
    await persistence.driver.apply([Put(key(name("kv"), text("n"), text("cut")), f'{{"a": "{CANARY}" oops')])
    return persistence.kv(Model, "n")


async def _damaged(persistence: Persistence, at: str, value: str) -> Persistence:
    await persistence.driver.apply([Put(at, value)])
    return persistence


WRITES: dict[str, Call] = {
    "a message": lambda p: p.sessions.add_message("s", {"subtype": "user", "content": {"x": CANARY}}),
    "a message of no kind": lambda p: p.sessions.add_message("s", {"subtype": "user", "timestamp": CANARY}),
    "a message with a surrogate": lambda p: p.sessions.add_message("s", UserMessage(content=CANARY + "\ud800")),
    "a message with an object": lambda p: p.sessions.add_message(
        "s", {"subtype": "user", "x": {CANARY: object()}.values()}
    ),
    "an image": lambda p: p.images.save_image({"imageId": "i", "containerId": "c", "sessionId": "s", "name": [CANARY]}),
    "an image with an object": lambda p: p.images.save_image(
        ImageRecord(image_id="i", container_id="c", session_id="s", name=CANARY, x=object())  # type: ignore[call-arg]
    ),
    "a value of another type": lambda p: p.kv(Model, "n").set("k", {"a": CANARY}),  # type: ignore[arg-type]
    "a value that is none": lambda p: p.kv(Model, "n").set("k", Model.model_construct(a=CANARY)),
    "a value with an object": lambda p: p.kv(dict, "n").set("k", {"x": CANARY, "y": object()}),
    "a surrogate": lambda p: p.kv(str, "n").set("k", CANARY + "\ud800"),
    "a checkpoint": lambda p: p.checkpoints.put("t", {"x": CANARY, "y": object()}),
    "an event": lambda p: p.events(prune_interval=None).publish("c", {"x": CANARY, "y": object()}),
    "a job": lambda p: p.work("w").put({"x": CANARY, "y": object()}),
    "feedback": lambda p: p.feedback.create("t", rating=99, comment=CANARY),
    "an item": lambda p: p.driver.apply([Put(key(name("a")), CANARY + "\ud800")]),
    "two writes": lambda p: p.driver.apply([Put(key(name("a")), CANARY), Put(key(name("a")), CANARY)]),
}


@pytest.fixture
async def filled(persistence: Persistence) -> Persistence:
    await persistence.sessions.save_session(SessionRecord(session_id="s", image_id="i", container_id="c"))
    await persistence.threads.create(id="t", user_id="u", agent_name="a")
    return persistence


async def test_no_contents_are_in_an_error_of_a_write(filled: Persistence) -> None:
    for what, call in WRITES.items():
        with pytest.raises(LimpetError) as caught:
            await call(filled)
        assert leaks(caught.value, locals=False) == [], what


async def test_no_contents_are_in_an_error_of_a_read(filled: Persistence) -> None:
    numbers = await _numbers(filled)
    await filled.driver.apply(
        [
            Put(key(name("images"), text("one")), f'{{"imageId":"one","name":["{CANARY}"]}}'),
            Put(key(name("images"), text("two")), f'{{"imageId":"two" {CANARY}'),
            Put(key(name("images"), text("three")), f"{CANARY}".encode()),
            Put(key(name("threads"), text("x")), f'{{"id": {{"{CANARY}": 1}}}}'),
        ]
    )
    reads: dict[str, Callable[[], Awaitable[object]]] = {
        "another type": lambda: numbers.get("k"),
        "no JSON": lambda: numbers.get("cut"),
        "a list": lambda: numbers.list().__aiter__().__anext__(),
        "an update": lambda: numbers.update("k", lambda found: found),
        "a record": lambda: filled.images.find_image_by_id("one"),
        "a cut record": lambda: filled.images.find_image_by_id("two"),
        "bytes": lambda: filled.images.find_image_by_id("three"),
        "a thread": lambda: filled.threads.get("x"),
    }
    for what, read in reads.items():
        with pytest.raises(LimpetError) as caught:
            await read()
        assert leaks(caught.value, locals=False) == [], what


async def test_no_contents_are_in_a_conflict(filled: Persistence) -> None:
    store = filled.kv(dict, "n")
    old = await store.set("c", {"x": CANARY})
    await store.set("c", {"x": CANARY + "2"})
    with pytest.raises(LimpetError) as caught:
        await store.set("c", {"x": 1}, if_match=old)
    assert leaks(caught.value, locals=False) == []


def test_no_contents_are_in_the_repr_of_what_a_driver_takes() -> None:
    assert CANARY not in repr(Put(key(name("a"), number(1)), CANARY))
    assert CANARY not in repr(Item(key(name("a")), CANARY, new_etag(), 1))


class ClientError(Exception):
    """Of a client library."""


class Failing(MemoryDriver):
    """A client library fails while it holds a password and a value in its variables."""

    client_errors = (ClientError,)

    async def _fetch(self, keys: Any, values: bool) -> Any:
        def send(password: str) -> None:
            raise ClientError("the connection broke")

        send(CANARY)

    def _translate(self, error: Exception) -> LimpetError:
        return ConfigurationError(f"the client says: {error}")


async def test_the_frames_of_a_client_library_are_not_in_an_error() -> None:
    assert issubclass(Failing, BaseDriver)
    driver: Driver = Failing()
    await driver.open()
    with pytest.raises(ConfigurationError, match="the connection broke") as caught:
        await driver.get([key(name("a"))])
    assert isinstance(caught.value.__cause__, ClientError), "what it says stays"
    assert leaks(caught.value, locals=True) == []
    assert not [frame for frame in variables(caught.value) if CANARY in frame]


async def test_a_long_error_is_cut() -> None:
    error = ConfigurationError("x" * 1_000_000 + " and what to do")
    assert len(str(error)) < 2000
    assert str(error).endswith("what to do")
