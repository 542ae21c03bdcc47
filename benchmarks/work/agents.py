"""Key-value and agent state on SQLite beside Naylence's provider, plain and encrypted, one call after the other."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Protocol

from limpet import create_persistence
from limpet.state import AgentState, BaseAgentState
from limpet.stores import KeyValueStore, Persistence
from limpet.wrappers import encrypted
from pydantic import BaseModel

from .._measure import Comparison, Contender, compare
from ..peers.naylence import Naylence

__all__ = ["run"]

KEY = "5a" * 32
USERS = 1000


class User(BaseModel):
    name: str
    notes: str


USER = User(name="Ada", notes="x" * 1000)


class Counter(BaseAgentState):
    count: int = 0


class _Who(Protocol):
    async def set(self, key: str, value: User, /) -> object: ...
    async def get(self, key: str, /) -> object: ...
    async def increment(self) -> int: ...


class _Limpet:
    def __init__(self, persistence: Persistence) -> None:
        users: KeyValueStore[User] = persistence.kv(User, "users")
        self.set, self.get = users.set, users.get
        self._state: AgentState[Counter] = persistence.state(Counter, "counter")

    async def increment(self) -> int:
        async with self._state as state:
            state.count += 1
            return state.count


async def sets(who: _Who, times: int) -> None:
    for n in range(times):
        await who.set(f"user {n % USERS}", USER)


async def gets(who: _Who, times: int) -> None:
    for n in range(times):
        await who.get(f"user {n % USERS}")


async def increments(who: _Who, times: int) -> None:
    for _ in range(times):
        await who.increment()


async def run(folder: Path) -> list[Comparison]:
    return [*await _beside(folder, "plain", None), *await _beside(folder, "encrypted", KEY)]


async def _beside(folder: Path, how: str, secret: str | None) -> list[Comparison]:
    wrappers = [] if secret is None else [encrypted(key=secret)]
    url = f"sqlite:///{folder.as_posix()}/{how}"
    async with (
        create_persistence(f"{url}-relaxed.db?durability=relaxed", wrappers=wrappers) as relaxed,
        create_persistence(f"{url}-disk.db", wrappers=wrappers) as disk,
    ):
        lax, durable = _Limpet(relaxed), _Limpet(disk)
        peers: dict[str, _Who] = {"naylence": await _opened(Naylence(folder / how, key=secret))}
        reading = dict(peers)
        if secret is not None:
            cached = Naylence(folder / f"{how}-cached", key=secret, cached=True)
            reading["naylence, its profile's cache"] = await _opened(cached)
        for who in (lax, durable, *reading.values()):
            await sets(who, USERS)
        return [
            await compare(f"{what}, {how}", [Contender(name, partial(work, who)) for name, who in everybody], times=400)
            for what, work, everybody in (
                ("key-value: get of 1 KB", gets, [("limpet", lax), *reading.items()]),
                ("key-value: set of 1 KB, relaxed", sets, [("limpet", lax), *peers.items()]),
                ("key-value: set of 1 KB, durable", sets, [("limpet", durable), *peers.items()]),
                ("agent state: increment, relaxed", increments, [("limpet", lax), *peers.items()]),
                ("agent state: increment, durable", increments, [("limpet", durable), *peers.items()]),
            )
        ]


async def _opened(peer: Naylence) -> Naylence:
    await peer.open(User)
    return peer
