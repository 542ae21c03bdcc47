"""Key-value records whose type has changed, on every driver."""

from __future__ import annotations

from typing import Any

import pytest
from limpet import CorruptDataError, FormatError, Persistence
from limpet.stores import KeyValueStore
from limpet.structures import Migrations
from pydantic import BaseModel, ConfigDict, Field


class User(BaseModel):
    name: str
    tags: list[str] = Field(default_factory=list, alias="userTags")

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)


ADA = User(name="Ada", userTags=["x"])


@pytest.fixture
def users(persistence: Persistence) -> KeyValueStore[User]:
    return persistence.kv(User, "users")


class Older(BaseModel):
    full_name: str


async def test_a_record_that_no_longer_validates_is_named_and_never_skipped(
    persistence: Persistence, users: KeyValueStore[User]
) -> None:
    await persistence.kv(Older, "users").set("old", Older(full_name="Ada"))
    await users.set("u", ADA)
    for read in (
        users.get("old"),
        users.get_with_etag("old"),
        users.get_many(["u", "old"]),
        users.list(),
        users.list(),
        users.update("old", lambda user: user),
    ):
        with pytest.raises(CorruptDataError, match="'old' in the namespace 'users' is not a valid User: name"):
            await read
    with pytest.raises(ValueError):
        [pair async for pair in users.list()]
    assert sorted(await users.keys()) == ["old", "u"], "so it can be found, and mended or deleted"
    assert await users.delete("old")
    assert dict(await users.list()) == {"u": ADA}


async def test_two_types_on_one_namespace_read_the_same_data_each_as_its_own(persistence: Persistence) -> None:
    class Brief(BaseModel):
        name: str

    await persistence.kv(User, "users").set("u", ADA)
    assert await persistence.kv(Brief, "users").get("u") == Brief(name="Ada")
    raw = await persistence.kv(dict, "users").get("u")
    assert raw is not None
    assert raw["userTags"] == ["x"], "stored by alias"
    with pytest.raises(CorruptDataError):
        await persistence.kv(int, "users").get("u")


async def test_migrations_repair_on_reading_and_are_stored_with_the_next_write(persistence: Persistence) -> None:
    migrations = Migrations(version=3)

    @migrations.step(1)
    def named(document: dict[str, Any]) -> dict[str, Any]:
        return {"name": document["full_name"]}

    @migrations.step(2)
    def tagged(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "userTags": ["migrated"]}

    long = "l" * 300
    older = persistence.kv(Older, "users")
    await older.set_many({"u": Older(full_name="Ada"), long: Older(full_name="Bo")})
    users = persistence.kv(User, "users", migrations=migrations)
    assert await users.get("u") == User(name="Ada", userTags=["migrated"])
    assert {key: user.name for key, user in (dict(await users.list())).items()} == {"u": "Ada", long: "Bo"}
    assert await older.get("u") == Older(full_name="Ada"), "reading wrote nothing"
    assert await users.update("u", lambda user: user) == User(name="Ada", userTags=["migrated"])
    assert await users.update(long, lambda user: user) == User(name="Bo", userTags=["migrated"])
    assert await users.get(long) == User(name="Bo", userTags=["migrated"]), "not migrated twice"
    with pytest.raises(FormatError, match="upgrade the program"):
        await older.get("u")
    with pytest.raises(FormatError, match="no step leads from 1 to 2"):
        await persistence.kv(User, "x", migrations=Migrations(version=2)).update(
            await _set(persistence.kv(Older, "x")), lambda user: user
        )


async def _set(store: KeyValueStore[Older]) -> str:
    await store.set("u", Older(full_name="Ada"))
    return "u"


async def test_values_that_are_no_objects_migrate_too(persistence: Persistence) -> None:
    await persistence.kv(int, "n").set("k", 5)
    migrations = Migrations(version=2)
    migrations.step(1)(lambda number: [number])
    store = persistence.kv(list[int], "n", migrations=migrations)
    assert await store.get("k") == [5]
    assert await store.update("k", lambda numbers: [*numbers, 6]) == [5, 6]
    assert await store.get("k") == [5, 6]
