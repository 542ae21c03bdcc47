"""The rules of A2A's `PushNotificationConfigStore`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from a2a.auth.user import User
from a2a.server.context import ServerCallContext
from a2a.types.a2a_pb2 import AuthenticationInfo, TaskPushNotificationConfig
from limpet import ConfigurationError, InvalidKeyError, Persistence, open_persistence
from limpet.driver import Put, Range
from limpet.wrappers import encrypted
from limpet_adapters.a2a import LimpetPushNotificationConfigStore
from proof.databases import Database


class Named(User):
    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def user_name(self) -> str:
        return self._name


ADA, BOB = (ServerCallContext(user=Named(name)) for name in ("ada", "bob"))


def config(id: str = "", url: str = "https://example.com/hook", task_id: str = "") -> TaskPushNotificationConfig:
    return TaskPushNotificationConfig(
        id=id,
        task_id=task_id,
        url=url,
        token="secret-token",
        authentication=AuthenticationInfo(scheme="Bearer", credentials="secret-credentials"),
    )


@pytest.fixture
async def persistence(database: Database) -> AsyncIterator[Persistence]:
    async with database.open() as opened:
        yield opened


@pytest.fixture
def store(persistence: Persistence) -> LimpetPushNotificationConfigStore:
    return LimpetPushNotificationConfigStore(persistence)


async def test_a_configuration_gets_its_tasks_id_and_the_given_one_stays_as_it_is(
    store: LimpetPushNotificationConfigStore,
) -> None:
    given = config()
    stored = await store.set_info("t", given, ADA)
    assert (given, stored) == (config(), config("t", task_id="t"))
    assert await store.get_info("t", ADA) == [stored]
    stored.url = "changed"
    assert await store.get_info("t", ADA) == [config("t", task_id="t")]


async def test_configurations_of_a_task_are_kept_apart_by_id_the_oldest_first(
    store: LimpetPushNotificationConfigStore,
) -> None:
    for id in ("z", "a", "m"):
        await store.set_info("t", config(id), ADA)
        await asyncio.sleep(0.005)
    await store.set_info("t", config("z", "https://example.com/again"), ADA)
    found = await store.get_info("t", ADA)
    assert [each.id for each in found] == ["a", "m", "z"]
    assert found[-1].url == "https://example.com/again"
    assert await store.get_info("other", ADA) == []


async def test_callers_see_their_own_and_dispatch_sees_all(store: LimpetPushNotificationConfigStore) -> None:
    await store.set_info("t", config("1"), ADA)
    await asyncio.sleep(0.005)
    await store.set_info("t", config("1", "https://example.com/bob"), BOB)
    await store.set_info("t2", config("1"), BOB)
    assert [each.url for each in await store.get_info("t", ADA)] == ["https://example.com/hook"]
    assert [each.url for each in await store.get_info("t", BOB)] == ["https://example.com/bob"]
    assert await store.get_info("t2", ADA) == []
    assert [each.url for each in await store.get_info_for_dispatch("t")] == [
        "https://example.com/hook",
        "https://example.com/bob",
    ]
    assert await store.get_info_for_dispatch("t3") == []


async def test_deleting_one_or_all_of_ones_own(store: LimpetPushNotificationConfigStore) -> None:
    for id in "abc":
        await store.set_info("t", config(id), ADA)
        await store.set_info("t", config(id), BOB)
    for _ in range(2):
        await store.delete_info("t", ADA, "b")
        assert {each.id for each in await store.get_info("t", ADA)} == {"a", "c"}
    for _ in range(2):
        await store.delete_info("t", ADA)
        assert await store.get_info("t", ADA) == []
    assert len(await store.get_info("t", BOB)) == 3
    await store.delete_info("t", BOB, "")  # no id is not all ids
    assert len(await store.get_info("t", BOB)) == 3


@pytest.mark.parametrize("id", ["/", "../..", "a!b#c%", "💙" * 60, "x" * 8192, "\0", " "], ids=lambda id: repr(id)[:20])
async def test_any_text_is_an_id(store: LimpetPushNotificationConfigStore, id: str) -> None:
    who = ServerCallContext(user=Named(id))
    stored = await store.set_info(id, config(id), who)
    assert await store.get_info(id, who) == await store.get_info_for_dispatch(id) == [stored]
    await store.delete_info(id, who, id)
    assert await store.get_info_for_dispatch(id) == []


async def test_what_cannot_be_an_id_is_refused_before_anything_is_written(
    store: LimpetPushNotificationConfigStore, persistence: Persistence
) -> None:
    long = "x" * 8193
    for task_id, id in ((long, "a"), ("t", long)):
        with pytest.raises(InvalidKeyError, match="8,193 characters"):
            await store.set_info(task_id, config(id), ADA)
    assert await store.get_info(long, ADA) == await store.get_info_for_dispatch(long) == []
    await store.delete_info(long, ADA)
    await store.delete_info("t", ADA, long)
    assert not (await persistence.driver.scan(Range("a2a.push"))).items


async def test_a_damaged_configuration_is_left_out(
    store: LimpetPushNotificationConfigStore, persistence: Persistence, caplog: pytest.LogCaptureFixture
) -> None:
    for id in "ab":
        await store.set_info("t", config(id), ADA)
    await persistence.driver.apply([Put("a2a.push!@t!@ada!@a", "damaged")])
    assert [each.id for each in await store.get_info_for_dispatch("t")] == ["b"]
    assert "cannot be read" in caplog.text


async def test_concurrent_writers_lose_none(database: Database) -> None:
    async with database.open() as one, database.open() as two:
        stores = [LimpetPushNotificationConfigStore(each) for each in ((one, two) if database.is_kept else (one, one))]
        await asyncio.gather(*(stores[n % 2].set_info("t", config(str(n)), ADA) for n in range(60)))
        assert {each.id for each in await stores[0].get_info("t", ADA)} == {str(n) for n in range(60)}


def test_any_event_loop_can_use_it_and_it_is_there_again(database: Database) -> None:
    persistence = database.open()
    store = LimpetPushNotificationConfigStore(persistence)
    stored = asyncio.run(store.set_info("t", config("a"), ADA))
    assert asyncio.run(store.get_info("t", ADA)) == [stored]
    asyncio.run(persistence.aclose())
    if database.is_kept:
        again = database.open()
        assert asyncio.run(LimpetPushNotificationConfigStore(again).get_info("t", ADA)) == [stored]
        asyncio.run(again.aclose())


async def test_secrets_are_encrypted_where_the_database_is(tmp_path: Path) -> None:
    url = f"sqlite:///{(tmp_path / 'a2a.db').as_posix()}"
    options = {"wrappers": [encrypted(key="07" * 32)], "require_encryption": True}
    async with LimpetPushNotificationConfigStore.from_url(url, **options) as store:
        await store.set_info("task-of-ada", config("a"), ADA)
        assert [each.token for each in await store.get_info("task-of-ada", ADA)] == ["secret-token"]
    written = b"".join([each.read_bytes() for each in tmp_path.iterdir()])  # noqa: ASYNC240
    for secret in (b"secret-token", b"secret-credentials", b"example.com", b"task-of-ada"):
        assert secret not in written
    with pytest.raises(ConfigurationError):
        open_persistence(url, require_encryption=True)
