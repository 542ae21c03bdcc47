"""The driver: the contract's verbs, each a few commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self, TypeVar

from limpet import ConfigurationError, LimpetError, UnsupportedError
from limpet.driver import (
    Append,
    BaseDriver,
    Capabilities,
    Health,
    Item,
    Key,
    LostRaceError,
    Page,
    Verdict,
    Work,
    Write,
    check_key,
    hints,
    rounds,
)
from pymongo.errors import ConnectionFailure, NetworkTimeout, ServerSelectionTimeoutError

from . import _commands
from ._client import Client
from ._errors import ADVICE, CLIENT_ERRORS, of_mongodb, transient
from ._health import ask_for_now, examine, is_replicated, prepare
from ._options import Durability, Options, Transactions
from ._watch import watching

__all__ = ["MongodbDriver"]

T = TypeVar("T")

_ANYWHERE = "mongodb://localhost:27017"
_MIB = 1024 * 1024
_DOCUMENT = 16 * _MIB
_BESIDE = 4096
"""Bytes of a document that are not the value: its key, its etag, its dates."""


class MongodbDriver(BaseDriver):
    """Items in one collection of a MongoDB database, shared by any number of processes and machines.

    On a replica set, or a sharded cluster, a batch is a transaction and acknowledged means that the majority has it. A
    server that stands alone has no transactions: it takes one item at a time, and `capabilities.atomic` is `item`.
    """

    capabilities = Capabilities(
        durable="disk",
        shared=True,
        watch=True,
        append=True,
        max_value_bytes=_DOCUMENT - _BESIDE,
        max_batch_bytes=32 * _MIB,
        max_writes=4096,
        max_keys=4096,
    )
    client_errors: ClassVar[tuple[type[Exception], ...]] = CLIENT_ERRORS

    def __init__(
        self,
        url: str = _ANYWHERE,
        *,
        client: Any = None,
        database: str | None = None,
        collection: str = "limpet",
        transactions: Transactions = "auto",
        durability: Durability = "disk",
        pool_size: int = 8,
        connect_timeout: float = 10.0,
        timeout: float = 30.0,
    ) -> None:
        """MongoDB's own connection string, or the application's `client`: used and never closed.

        `client` is an `AsyncMongoClient` of pymongo or an `AsyncIOMotorClient`. The database is the one in the URL,
        else `limpet`; the collection is made when it is missing. `transactions="true"` insists on them whatever the
        server says of itself, `"false"` does without. `durability="process"` does not wait for the journal.
        `pool_size` is how many connections are opened at most; `connect_timeout` and `timeout` are seconds. Raises
        `ConfigurationError`; the server is asked by `open`.
        """
        super().__init__()
        self._options = Options(
            url=url, database=database, collection=collection, transactions=transactions, durability=durability,
            pool_size=pool_size, connect_timeout=connect_timeout, timeout=timeout,
        )  # fmt: skip
        if client is not None and url != _ANYWHERE:
            raise ConfigurationError("a client knows its servers already: give the client, or a URL")
        self._borrowed = client
        self._client: Client | None = None
        self._under_way: set[asyncio.Task[Any]] = set()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`mongodb://user:password@host:port/database?collection=agents&replicaSet=rs0`, and `mongodb+srv://`."""
        options = Options.from_url(url)
        return cls(**{name: getattr(options, name) for name in Options.__dataclass_fields__})

    async def _open(self) -> None:
        client = Client(self._options, self._borrowed)
        try:
            hello = await client.command({"hello": 1})
            replicated = is_replicated(hello)
            batches = replicated if self._options.transactions == "auto" else self._options.transactions == "true"
            client.reading("snapshot" if batches else "majority" if replicated else "local")
            await prepare(client)
            await ask_for_now(client)
            if batches and not replicated:
                await self._insist(client)
        except BaseException:
            await client.close()
            raise
        self._client = client
        self.capabilities = replace(
            type(self).capabilities,
            atomic="batch" if batches else "item",
            durable="disk" if self._options.durability == "disk" else "process",
            watch=batches or replicated,
            append=batches,
            max_value_bytes=min(_DOCUMENT, int(hello.get("maxBsonObjectSize", _DOCUMENT))) - _BESIDE,
        )

    async def _insist(self, client: Client) -> None:
        """Try a transaction: who says that the server has them may be wrong."""
        async with client.transaction() as within:
            await client.find({"_id": ""}, values=False, within=within)

    async def _close(self) -> None:
        while self._under_way:  # of callers who were cancelled
            await asyncio.wait(self._under_way)
        await self._opened.close()

    async def _fetch(self, keys: Sequence[Key], values: bool) -> list[Item | None]:
        return await self._to_end(_commands.fetch(self._opened, keys, values))

    async def _list(
        self, base: Key, after: Key | None, before: Key | None, reverse: bool, limit: int, values: bool
    ) -> Page:
        return await self._to_end(_commands.list_page(self._opened, base, after, before, reverse, limit, values))

    async def _commit(self, work: Sequence[Work]) -> Sequence[Verdict]:
        return await self._to_end(self._written(work))

    async def _written(self, work: Sequence[Work]) -> list[Verdict]:
        singles = [unit[0] for unit in work if not isinstance(unit, Append) and len(unit) == 1]
        if len(singles) < len(work):
            return await self._played(self._transacted, work)
        if len(singles) == 1:
            return await self._played(self._lone, work)
        if all(map(_commands.is_plain, singles)):
            return await self._grouped(singles)
        if self.capabilities.atomic == "batch":
            return await self._played(self._transacted, work)
        return await self._one_by_one(singles)

    async def _lone(self, work: Sequence[Work]) -> list[Verdict]:
        (unit,) = work
        assert not isinstance(unit, Append)
        return [await _commands.lone(self._opened, unit[0])]

    async def _grouped(self, writes: Sequence[Write]) -> list[Verdict]:
        """Those that lost a race are written alone."""
        found = await _commands.group(self._opened, writes)
        return [
            (await self._sent([[write]]))[0] if isinstance(verdict, LostRaceError) else verdict
            for write, verdict in zip(writes, found, strict=True)
        ]

    async def _one_by_one(self, writes: Sequence[Write]) -> list[Verdict]:
        """On a server without transactions: what is plain travels together, the rest as far as connections go."""
        room = asyncio.Semaphore(self._options.pool_size)
        verdicts: list[Verdict] = [None] * len(writes)

        async def alone(place: int) -> None:
            async with room:
                (verdicts[place],) = await self._sent([[writes[place]]])

        plain = [place for place, write in enumerate(writes) if _commands.is_plain(write)]
        if plain:
            for place, verdict in zip(plain, await self._sent([[writes[place]] for place in plain]), strict=True):
                verdicts[place] = verdict
        await asyncio.gather(*(alone(place) for place, write in enumerate(writes) if not _commands.is_plain(write)))
        return verdicts

    async def _transacted(self, work: Sequence[Work]) -> list[Verdict]:
        """Once more where the connection had ended: nothing was committed."""
        for last in (False, True):
            try:
                return await _commands.play(self._opened, work)
            except CLIENT_ERRORS as error:
                if not transient(error):
                    raise
                if not isinstance(error, ConnectionFailure):
                    raise LostRaceError from error
                if last or isinstance(error, NetworkTimeout | ServerSelectionTimeoutError):
                    raise of_mongodb(error, self._options.place) from error
        raise AssertionError("the last attempt gives or raises")

    async def _played(
        self, play: Callable[[Sequence[Work]], Awaitable[list[Verdict]]], work: Sequence[Work]
    ) -> list[Verdict]:
        return await rounds(play, work, races=(), place=self._options.place, seconds=self._options.timeout)

    async def clear(self, base: Key) -> int:
        if base != "":
            check_key(base)
        return await self._repeat(lambda: _commands.clear(self._opened, base))

    async def purge(self) -> int:
        return await self._repeat(lambda: _commands.purge(self._opened))

    async def health(self) -> Health:
        with self._call():
            return await self._to_end(examine(self._opened, batches=self.capabilities.atomic == "batch"))

    def watch(self, base: Key) -> AsyncIterator[frozenset[Key] | None]:
        if base != "":
            check_key(base)
        self._check_open()
        if not self.capabilities.watch:
            raise UnsupportedError(f"a server that stands alone has no change streams: {ADVICE}, or read again instead")
        client = self._opened
        return hints(
            lambda hearing: watching(client, hearing),
            base,
            errors=CLIENT_ERRORS,
            translate=self._translate,
            closed=lambda: client.closed,
        )

    async def _repeat(self, act: Callable[[], Coroutine[Any, Any, tuple[int, bool]]]) -> int:
        """In many short commands: a long one would run into the time-out."""
        total, more = 0, True
        with self._call():
            while more:
                done, more = await self._to_end(act())
                total += done
        return total

    async def _to_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Whoever is cancelled leaves it to go on: else a transaction stays open, and pymongo throws the connection away,
        or loses the socket of one that it was making."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    @property
    def _opened(self) -> Client:
        if self._client is None:
            self._check_open()
        assert self._client is not None
        return self._client

    def _translate(self, error: Exception) -> LimpetError:
        return of_mongodb(error, self._options.place)


async def _given(verdict: Verdict) -> Verdict:
    return verdict
