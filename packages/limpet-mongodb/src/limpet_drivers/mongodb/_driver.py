"""The driver: the contract's verbs, each a few commands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, ClassVar, Self, TypeVar

from limpet import ConfigurationError, LimpetError
from limpet.driver import Append, Capabilities, Health, Item, Key, Outcome, Page, Range, Unit, Write
from limpet.driver.kit import (
    SecretUrl,
    SerializationFailure,
    ServerDriver,
    Subscription,
    keywords,
    retry_transaction,
    without_frames,
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
"""The size of a document without the value: its key, etag and dates."""


class MongodbDriver(ServerDriver[Client]):
    """Stores items in one collection of a MongoDB database, shared by any number of processes and machines.

    On a replica set or a sharded cluster, a batch is a transaction, and an acknowledged write is stored on the
    majority. A standalone server has no transactions: a batch can only contain one write (`capabilities.atomic` is
    `item`).
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

        `client` is pymongo's `AsyncMongoClient` or an `AsyncIOMotorClient`. The database is the one in the URL, or
        `limpet`; the collection is created if it is missing. `transactions="true"` requires transactions whatever the
        server reports, `"false"` does not use them. `durability="process"` does not wait for the journal. `pool_size`
        is the maximum number of connections; `connect_timeout` and `timeout` are in seconds. Raises
        `ConfigurationError`. Only `open` contacts the server.
        """
        super().__init__()
        url = SecretUrl(url)
        self._options = Options(
            url=url, database=database, collection=collection, transactions=transactions, durability=durability,
            pool_size=pool_size, connect_timeout=connect_timeout, timeout=timeout,
        )  # fmt: skip
        if client is not None and url != _ANYWHERE:
            raise ConfigurationError("a client already knows its servers: pass a client or a URL, not both")
        self._borrowed = client
        self._under_way: set[asyncio.Task[Any]] = set()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`mongodb://user:password@host:port/database?collection=agents&replicaSet=rs0`, and `mongodb+srv://`."""
        url = SecretUrl(url)
        return cls(**keywords(Options.from_url(url)))

    def _connect(self) -> Client:
        return Client(self._options, self._borrowed)

    @property
    def tls_problem(self) -> str | None:
        if self._borrowed is not None:
            return "the application's client does not show whether it uses TLS: pass a URL, or leave out require_tls"
        return self._options.tls_problem

    def _place(self) -> str:
        return self._options.place

    async def _prepare(self, client: Client) -> Capabilities:
        hello = await client.command({"hello": 1})
        replicated = is_replicated(hello)
        batches = replicated if self._options.transactions == "auto" else self._options.transactions == "true"
        client.reading("snapshot" if batches else "majority" if replicated else "local")
        await prepare(client)
        await ask_for_now(client)
        if batches and not replicated:
            await self._insist(client)
        return replace(
            type(self).capabilities,
            atomic="batch" if batches else "item",
            durable="disk" if self._options.durability == "disk" else "process",
            watch=batches or replicated,
            append=batches,
            max_value_bytes=min(_DOCUMENT, int(hello.get("maxBsonObjectSize", _DOCUMENT))) - _BESIDE,
        )

    async def _insist(self, client: Client) -> None:
        """Try a transaction, in case the server does not support them after all."""
        async with client.transaction() as within:
            await client.find({"_id": ""}, values=False, within=within)

    async def _close(self) -> None:
        while self._under_way:  # from callers who were cancelled
            await asyncio.wait(self._under_way)
        await super()._close()

    async def _fetch(self, keys: Sequence[Key], values: bool) -> list[Item | None]:
        return await self._to_end(_commands.fetch(self._opened, keys, values))

    async def _list(self, range: Range) -> Page:
        return await self._to_end(_commands.list_page(self._opened, range))

    async def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        return await self._to_end(self._written(units))

    async def _written(self, units: Sequence[Unit]) -> list[Outcome]:
        singles = [unit[0] for unit in units if not isinstance(unit, Append) and len(unit) == 1]
        if len(singles) < len(units):
            return await self._played(self._transacted, units)
        if len(singles) == 1:
            return await self._played(self._lone, units)
        if all(map(_commands.is_plain, singles)):
            return await self._grouped(singles)
        if self.capabilities.atomic == "batch":
            return await self._played(self._transacted, units)
        return await self._one_by_one(singles)

    async def _lone(self, units: Sequence[Unit]) -> list[Outcome]:
        (unit,) = units
        assert not isinstance(unit, Append)
        return [await _commands.lone(self._opened, unit[0])]

    async def _grouped(self, writes: Sequence[Write]) -> list[Outcome]:
        """Writes that lost a race are then written alone."""
        found = await _commands.group(self._opened, writes)
        return [
            (await self._sent([[write]]))[0] if isinstance(outcome, SerializationFailure) else outcome
            for write, outcome in zip(writes, found, strict=True)
        ]

    async def _one_by_one(self, writes: Sequence[Write]) -> list[Outcome]:
        """On a server without transactions: unconditional writes are sent together, the rest as connections allow."""
        room = asyncio.Semaphore(self._options.pool_size)
        outcomes: list[Outcome] = [None] * len(writes)

        async def alone(place: int) -> None:
            async with room:
                (outcomes[place],) = await self._sent([[writes[place]]])

        plain = [place for place, write in enumerate(writes) if _commands.is_plain(write)]
        if plain:
            for place, outcome in zip(plain, await self._sent([[writes[place]] for place in plain]), strict=True):
                outcomes[place] = outcome
        await asyncio.gather(*(alone(place) for place, write in enumerate(writes) if not _commands.is_plain(write)))
        return outcomes

    async def _transacted(self, units: Sequence[Unit]) -> list[Outcome]:
        """Run again if the connection had ended: nothing was committed."""
        for last in (False, True):
            try:
                return await _commands.play(self._opened, units)
            except CLIENT_ERRORS as error:
                if not transient(error):
                    raise
                if not isinstance(error, ConnectionFailure):
                    raise SerializationFailure from without_frames(error)
                if last or isinstance(error, NetworkTimeout | ServerSelectionTimeoutError):
                    raise of_mongodb(error, self._options.place) from without_frames(error)
        raise AssertionError("the last attempt gives or raises")

    async def _played(
        self, play: Callable[[Sequence[Unit]], Awaitable[list[Outcome]]], units: Sequence[Unit]
    ) -> list[Outcome]:
        return await retry_transaction(play, units, place=self._options.place, seconds=self._options.timeout)

    async def _clear(self, base: Key) -> tuple[int, bool]:
        return await self._to_end(_commands.clear(self._opened, base))

    async def _purge(self) -> tuple[int, bool]:
        return await self._to_end(_commands.purge(self._opened))

    async def _health(self) -> Health:
        return await self._to_end(examine(self._opened, batches=self.capabilities.atomic == "batch"))

    def _listening(self, subscription: Subscription) -> AbstractAsyncContextManager[None]:
        return watching(self._opened, subscription)

    def _cannot_watch(self) -> str:
        return f"a standalone server has no change streams: {ADVICE}"

    async def _to_end(self, units: Coroutine[Any, Any, T]) -> T:
        """Let it finish even if the caller is cancelled.

        Otherwise a transaction stays open, and pymongo drops the connection, or loses the socket of one being opened.
        """
        task = asyncio.create_task(units)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    def _translate(self, error: Exception) -> LimpetError:
        return of_mongodb(error, self._options.place)
