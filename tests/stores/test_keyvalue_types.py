"""What a key-value store takes as values, on every driver: any type that pydantic can adapt, if it comes back equal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal

import pytest
from limpet import ConfigurationError, InvalidValueError, Persistence
from pydantic import BaseModel, ConfigDict, PrivateAttr, RootModel, computed_field


class User(BaseModel):
    name: str


@dataclass
class Point:
    x: int
    y: float = 0.0


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    loud: bool = True


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 0),
        (str, ""),
        (bool, False),
        (float, 1),
        (bytes, b"ascii"),
        (int | None, None),
        (list[str], ["a", ""]),
        (dict, {"a": {"b": [None, 1.5, "x"]}, "version": 3, "$v": 9}),
        (dict[int, set[str]], {1: {"a"}}),
        (tuple[int, str], (1, "a")),
        (Decimal, Decimal("1.10")),
        (timedelta, timedelta(seconds=1.5)),
        (Point, Point(1, 2.5)),
        (Cat | Dog, Dog(loud=False)),
        (list[Cat | Dog], [Dog(), Cat()]),
        (RootModel[list[int]], RootModel[list[int]]([1])),
    ],
    ids=repr,
)
async def test_any_type_that_pydantic_adapts(persistence: Persistence, kind: Any, value: Any) -> None:
    store = persistence.kv(kind, "any")
    await store.set("k", value)
    found = await store.get_with_etag("k")
    assert found is not None
    assert found[0] == value
    assert type(found[0]) is type(value) or kind is float
    assert [pair async for pair in store.list()] == [("k", value)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    n: int = 0
    _cache: int = PrivateAttr(default=0)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return 2 * self.n


class Narrower(User):
    age: int = 3


def broken() -> User:
    user = User(name="x")
    user.name = 5  # type: ignore[assignment]
    return user


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (User, {"name": "x"}),
        (User, Narrower(name="x")),
        (list[User], [Narrower(name="x")]),
        (User, broken()),
        (int, "5"),
        (int, None),
        (float, float("nan")),
        (bytes, b"\xff"),
        (dict, {1: 2}),
        (Any, (1, 2)),
        (Any, object()),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", repr(value)),  # the same in every process
)
async def test_what_would_not_come_back_is_refused_before_it_is_stored(
    persistence: Persistence, kind: Any, value: Any
) -> None:
    store = persistence.kv(kind, "any")
    with pytest.raises(InvalidValueError):
        await store.set("k", value)
    with pytest.raises(ValueError):
        await store.set_many({"a": value})
    assert list(await store.keys()) == []


async def test_a_refusal_says_where_and_shows_no_value(persistence: Persistence) -> None:
    secret = broken()
    secret.name = ["secret"]  # type: ignore[assignment]
    with pytest.raises(InvalidValueError, match="name: Input should be a valid string") as caught:
        await persistence.kv(User, "any").set("k", secret)
    assert "secret" not in str(caught.value)
    with pytest.raises(InvalidValueError, match="does not have its declared type") as caught:
        await persistence.kv(User, "any").set("k", {"name": "secret"})  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


async def test_a_computed_field_and_a_private_attribute_are_not_in_the_way(persistence: Persistence) -> None:
    store = persistence.kv(Strict, "strict")
    value = Strict(n=2)
    value._cache = 7
    await store.set("k", value)
    found = await store.get("k")
    assert found is not None
    assert (found.n, found.double, found._cache) == (2, 4, 0)


def test_a_type_that_pydantic_cannot_adapt_is_refused_at_once(persistence: Persistence) -> None:
    with pytest.raises(ConfigurationError, match="pydantic"):
        persistence.kv(object(), "n")
