"""The rules of A2A's `TaskStore`: what the SDK's stores do, and what its docstrings say."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from a2a.auth.user import User
from a2a.server.context import ServerCallContext
from a2a.server.tasks import InMemoryTaskStore, TaskStore
from a2a.types.a2a_pb2 import (
    Artifact,
    ListTasksRequest,
    ListTasksResponse,
    Message,
    Part,
    Role,
    Task,
    TaskState,
    TaskStatus,
)
from a2a.utils.errors import InvalidParamsError
from limpet import CorruptDataError, FormatError, InvalidKeyError, InvalidValueError, Persistence
from limpet.driver import Put, Range
from limpet_adapters.a2a import LimpetTaskStore
from proof.databases import Database

WORKING, SUBMITTED, COMPLETED = (
    TaskState.TASK_STATE_WORKING,
    TaskState.TASK_STATE_SUBMITTED,
    TaskState.TASK_STATE_COMPLETED,
)


class Named(User):
    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def user_name(self) -> str:
        return self._name


def of(name: str, tenant: str = "") -> ServerCallContext:
    return ServerCallContext(user=Named(name), tenant=tenant)


def short(value: object) -> str:
    return repr(value)[:20]


ADA, BOB = of("ada"), of("bob")


def task(id: str, context: str = "c", state: Any = WORKING, at: int | None = None) -> Task:
    made = Task(id=id, context_id=context, status=TaskStatus(state=state))
    if at is not None:
        made.status.timestamp.FromNanoseconds(at)
    return made


def full_task() -> Task:
    made = task("full", at=1_700_000_000_123_456_789)
    made.history.append(
        Message(message_id="m1", role=Role.ROLE_USER, parts=[Part(text="ä 😀 \0 '; DROP TABLE tasks; --")])
    )
    made.artifacts.append(Artifact(artifact_id="a", name="", parts=[Part(raw=b"\0\xff"), Part()]))
    made.artifacts[0].parts.add().data.SetInParent()  # a value of no kind, which JSON cannot hold
    made.metadata.update({"nan": float("inf"), "none": None, "list": [1, "x", {"deep": True}]})
    return made


@pytest.fixture
async def persistence(database: Database) -> AsyncIterator[Persistence]:
    async with database.open() as opened:
        yield opened


@pytest.fixture
def store(persistence: Persistence) -> LimpetTaskStore:
    return LimpetTaskStore(persistence)


async def listed(store: TaskStore, context: ServerCallContext = ADA, **params: Any) -> ListTasksResponse:
    return await store.list(ListTasksRequest(**params), context)


def ids(response: ListTasksResponse) -> list[str]:
    return [each.id for each in response.tasks]


async def test_a_task_comes_back_as_it_was_saved(store: LimpetTaskStore) -> None:
    await store.save(full_task(), ADA)
    assert await store.get("full", ADA) == full_task()
    assert list((await listed(store)).tasks) == [full_task()]


async def test_what_is_saved_and_what_is_read_are_copies(store: LimpetTaskStore) -> None:
    mine = task("t")
    await store.save(mine, ADA)
    mine.context_id = "changed"
    read = await store.get("t", ADA)
    assert read == task("t")
    read.context_id = "changed"
    assert await store.get("t", ADA) == task("t")


async def test_a_save_replaces_everything(store: LimpetTaskStore) -> None:
    await store.save(full_task(), ADA)
    await store.save(task("full", "other", COMPLETED, 5), ADA)
    assert await store.get("full", ADA) == task("full", "other", COMPLETED, 5)
    for filter in ({"context_id": "c"}, {"status": WORKING}, {"context_id": "c", "status": WORKING}):
        assert (await listed(store, **filter)).total_size == 0
    for filter in ({}, {"context_id": "other"}, {"status": COMPLETED}, {"context_id": "other", "status": COMPLETED}):
        assert ids(await listed(store, **filter)) == ["full"]


async def test_of_another_owner_nothing_is_seen_or_changed(store: LimpetTaskStore) -> None:
    await store.save(task("t", "hers"), ADA)
    await store.save(task("t", "his"), BOB)
    await store.save(task("u", at=1), BOB)
    await store.delete("u", ADA)
    assert (await store.get("t", ADA), await store.get("t", BOB)) == (task("t", "hers"), task("t", "his"))
    assert await store.get("u", ADA) is None
    assert (ids(await listed(store)), ids(await listed(store, BOB))) == (["t"], ["u", "t"])
    await store.delete("t", ADA)
    assert (await store.get("t", ADA), await store.get("t", BOB)) == (None, task("t", "his"))


async def test_an_owner_resolver_can_tell_tenants_apart(persistence: Persistence) -> None:
    store = LimpetTaskStore(persistence, owner_resolver=lambda context: f"{context.tenant}/{context.user.user_name}")
    await store.save(task("t", "one"), of("ada", "one"))
    assert await store.get("t", of("ada", "two")) is None
    assert await store.get("t", of("ada", "one")) == task("t", "one")
    plain = LimpetTaskStore(persistence)  # which goes by the user's name alone, as the SDK does
    await plain.save(task("t", "plain"), of("ada", "one"))
    assert await plain.get("t", of("ada", "two")) == task("t", "plain")


async def test_deleting_twice_is_deleting_once(store: LimpetTaskStore) -> None:
    await store.save(task("t"), ADA)
    for _ in range(2):
        await store.delete("t", ADA)
        assert await store.get("t", ADA) is None
        assert (await listed(store)).total_size == 0


SECOND = 10**9
MANY = [
    task("a", "one", WORKING, 7 * SECOND),
    task("b", "one", SUBMITTED, 7 * SECOND),  # within the same instant as a
    task("c", "two", WORKING, 7 * SECOND + 1),
    task("d", "two", SUBMITTED, 9 * SECOND),
    task("e", "one", WORKING),
    task("f", "", TaskState.TASK_STATE_UNSPECIFIED),
    task("g", "one", WORKING, -(10**18)),  # 1938
    task("h", "two", COMPLETED, 0),
    Task(id="i"),
]


FILTERS = [
    (context, state, after)
    for context in ("", "one", "two", "no")
    for state in (0, WORKING, SUBMITTED, COMPLETED)
    for after in (None, -(2 * 10**18), 0, 7 * SECOND, 7 * SECOND + 1)
]


async def test_lists_are_those_of_the_sdks_store(store: LimpetTaskStore, database: Database) -> None:
    theirs = InMemoryTaskStore()
    # Encryption hides the order of ids, which only matters within an instant.
    for each in [each for each in MANY if each.id not in "afi"] if database.wrappers else MANY:
        await store.save(each, ADA)
        await theirs.save(each, ADA)
    for context, state, after in FILTERS:
        params = ListTasksRequest(context_id=context, status=state)
        if after is not None:
            params.status_timestamp_after.FromNanoseconds(after)
        for size in (0, 1, 2, 3, 100):
            params.page_size = size
            params.page_token = ""
            while True:
                expected = await theirs.list(params, ADA)
                assert await store.list(params, ADA) == expected
                params.page_token = expected.next_page_token
                if not params.page_token:
                    break


async def test_a_page_token_stays_valid_when_its_task_moves_or_goes(store: LimpetTaskStore) -> None:
    for n in range(6):
        await store.save(task(str(n), at=n * SECOND), ADA)
    first = await listed(store, page_size=2)
    assert ids(first) == ["5", "4"]
    await store.delete("4", ADA)
    await store.save(task("3", at=99 * SECOND), ADA)
    assert ids(await listed(store, page_size=2, page_token=first.next_page_token)) == ["2", "1"]


async def test_a_token_of_an_older_sdk_names_the_first_task_of_the_page(store: LimpetTaskStore) -> None:
    for n in range(4):
        await store.save(task(str(n), at=n * SECOND), ADA)
    assert ids(await listed(store, page_token=b64encode(b"2").decode())) == ["2", "1", "0"]


@pytest.mark.parametrize(
    "token",
    ["x", "!!", b64encode(b"unknown").decode(), b64encode(b'{"ts":1e999,"id":"a"}').decode(), "e30", "A" * 9000]
    + [b64encode(f'{{"ts":{n},"id":"a"}}'.encode()).decode() for n in (10**30, -(10**30))]
    + [b64encode(b'{"ts":1,"id":"' + b"x" * 9000 + b'"}').decode()],
    ids=short,
)
async def test_what_is_no_page_token_is_refused(store: LimpetTaskStore, token: str) -> None:
    await store.save(task("a"), ADA)
    with pytest.raises(InvalidParamsError):
        await listed(store, page_token=token)


async def test_a_list_of_thousands(store: LimpetTaskStore) -> None:
    for start in range(0, 1200, 100):
        await asyncio.gather(*(store.save(task(f"{n:04d}", at=n), ADA) for n in range(start, start + 100)))
    page = await listed(store, page_size=100)
    assert (page.total_size, page.tasks[0].id, len(page.tasks)) == (1200, "1199", 100)
    everything = await listed(store, page_size=2000)
    assert ids(everything) == [f"{n:04d}" for n in reversed(range(1200))]


@pytest.mark.parametrize("id", ["", "/", "../..", "a!b#c%", "💙" * 60, "x" * 8192, "null", "1e5", "\0", " "], ids=short)
async def test_any_text_is_an_id_a_context_and_an_owner(store: LimpetTaskStore, id: str) -> None:
    await store.save(task(id, id or "c"), of(id))
    await store.save(task(id + "y" if len(id) < 8000 else "other", "c"), of(id))
    assert await store.get(id, of(id)) == task(id, id or "c")
    assert (await listed(store, of(id), context_id=id or "c")).total_size == (1 if id else 2)
    await store.delete(id, of(id))
    assert await store.get(id, of(id)) is None


async def test_what_cannot_be_an_id_is_refused_before_anything_is_written(
    store: LimpetTaskStore, persistence: Persistence
) -> None:
    long = "x" * 8193
    for wrong, context in ((task(long), ADA), (task("t", long), ADA), (task("t"), of(long))):
        with pytest.raises(InvalidKeyError, match="8,193 characters"):
            await store.save(wrong, context)
    late = task("t")
    late.status.timestamp.seconds = 10**12
    with pytest.raises(InvalidValueError, match="years 1 to 9999"):
        await store.save(late, ADA)
    assert await store.get(long, ADA) is None
    assert (await listed(store, context_id=long)).total_size == 0
    await store.delete(long, ADA)
    assert not (await persistence.driver.scan(Range("a2a.tasks"))).items


async def test_a_task_of_megabytes(store: LimpetTaskStore) -> None:
    large = task("t")
    large.artifacts.add().parts.add().raw = bytes(range(256)) * 2**14
    await store.save(large, ADA)
    assert await store.get("t", ADA) == large


async def test_concurrent_saves_leave_one_of_the_tasks_listed_as_it_is(database: Database) -> None:
    async with database.open() as one, database.open() as two:
        stores = [LimpetTaskStore(each) for each in ((one, two) if database.is_kept else (one, one))]
        for turn in range(5):
            saves = [(f"c{n}", state, n) for n, state in enumerate([WORKING, SUBMITTED, COMPLETED, WORKING])]
            await asyncio.gather(
                *(stores[n % 2].save(task("t", c, state, turn * 100 + n), ADA) for c, state, n in saves)
            )
            there = await stores[0].get("t", ADA)
            assert there is not None
            for context, state, _ in saves:
                found = await listed(stores[1], context_id=context, status=state)
                expected = (there.context_id, there.status.state) == (context, state)
                assert (found.total_size, list(found.tasks)) == (expected, [there] if expected else [])
            assert (await listed(stores[1])).total_size == 1


async def test_concurrent_saves_of_many_tasks_lose_none(database: Database) -> None:
    async with database.open() as one, database.open() as two:
        stores = [LimpetTaskStore(each) for each in ((one, two) if database.is_kept else (one, one))]
        await asyncio.gather(*(stores[n % 2].save(task(str(n), at=n), ADA) for n in range(100)))
        assert (await listed(stores[0], page_size=100)).total_size == 100


async def test_a_database_that_is_opened_again_has_everything(database: Database) -> None:
    if not database.is_kept:
        pytest.skip("memory is not kept")
    for turn in range(2):
        async with database.open() as opened:
            store = LimpetTaskStore(opened)
            if turn == 0:
                await store.save(full_task(), ADA)
            assert await store.get("full", ADA) == full_task()
            assert ids(await listed(store, context_id="c", status=WORKING)) == ["full"]


def test_any_event_loop_can_use_it(database: Database) -> None:
    persistence = database.open()
    store = LimpetTaskStore(persistence)
    asyncio.run(store.save(task("t"), ADA))
    assert asyncio.run(store.get("t", ADA)) == task("t")
    assert asyncio.run(listed(store)).total_size == 1
    asyncio.run(persistence.aclose())


async def test_a_task_is_forgotten_after_its_time(persistence: Persistence) -> None:
    brief, lasting = LimpetTaskStore(persistence, ttl=0.3), LimpetTaskStore(persistence)
    await brief.save(task("t"), ADA)
    await brief.save(task("kept"), ADA)
    await lasting.save(task("kept"), ADA)
    assert (await listed(lasting)).total_size == 2
    await asyncio.sleep(0.5)
    assert await lasting.get("t", ADA) is None
    assert ids(await listed(lasting, context_id="c")) == ["kept"]
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="more than 0 seconds"):
            LimpetTaskStore(persistence, ttl=wrong)


@pytest.mark.parametrize(
    "damage",
    ["text", b"no line", b"{\n", b"[]\n", b'{"owner":"ada","version":1}\n\xff\xff', b'{"owner":"bob","version":1}\n'],
)
async def test_a_damaged_task_fails_no_list_and_can_be_replaced(
    store: LimpetTaskStore, persistence: Persistence, damage: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await store.save(task("bad"), ADA)
    await store.save(task("good"), ADA)
    await persistence.driver.apply([Put("a2a.tasks!@ada!@bad", damage)])
    with pytest.raises(CorruptDataError):
        await store.get("bad", ADA)
    assert ids(await listed(store)) == ["good"]
    assert "cannot be read" in caplog.text
    await store.save(task("bad", "again"), ADA)
    assert await store.get("bad", ADA) == task("bad", "again")
    await persistence.driver.apply([Put("a2a.tasks!@ada!@bad", damage)])
    await store.delete("bad", ADA)
    assert await store.get("bad", ADA) is None


async def test_what_a_newer_release_wrote_is_left_alone(store: LimpetTaskStore, persistence: Persistence) -> None:
    newer = b'{"owner":"ada","version":1,"parts":3}\n'
    await persistence.driver.apply([Put("a2a.tasks!@ada!@t", newer)])
    for call in (store.get("t", ADA), store.save(task("t"), ADA), store.delete("t", ADA)):
        with pytest.raises(FormatError, match="newer release"):
            await call


def test_the_example(tmp_path: Path) -> None:
    program = Path(__file__).parents[3] / "examples/frameworks/a2a_tasks.py"
    command = [sys.executable, "-W", "error", str(program), f"sqlite:///{(tmp_path / 'a2a.db').as_posix()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.splitlines() == [
        "TASK_STATE_INPUT_REQUIRED A table for how many?",
        "TASK_STATE_COMPLETED A table for four is booked. (3 messages)",
    ]
