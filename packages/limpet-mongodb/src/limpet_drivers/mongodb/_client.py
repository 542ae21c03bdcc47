"""The client: our own, or the application's, which may be Motor's. Writes are never retried by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from inspect import isawaitable
from time import monotonic
from typing import Any, Literal, NamedTuple, TypeVar
from warnings import catch_warnings, simplefilter

import pymongo
from limpet import ConfigurationError, UnavailableError
from limpet.driver.kit import Subscription, size_of, without_frames
from pymongo import AsyncMongoClient, ReadPreference, WriteConcern, errors
from pymongo.driver_info import DriverInfo
from pymongo.read_concern import ReadConcern

from ._errors import CLIENT_ERRORS, of_mongodb, transient
from ._layout import CODEC
from ._options import Options

__all__ = ["PAGE_BYTES", "Answer", "Client", "Place", "Transaction", "done"]

T = TypeVar("T")

PAGE_BYTES = 1024 * 1024
"""A page ends near this many bytes of values."""

_BARE = {"etag": 1, "updatedAt": 1, "expiresAt": 1, "now": "$$NOW"}
_VALUES = {"value": 1, **_BARE}
_COMMAND_BYTES = 16_000_000
_AROUND = 3072
"""The size of a statement without the value: the key, twice, and all names."""
_IDLE = 0.5
"""Seconds after which an idle connection may have ended unnoticed: pymongo does not watch idle connections."""


class Answer(NamedTuple):
    """What a server says about statements."""

    found: int
    """How many documents they matched, created or deleted."""
    failed: dict[int, Mapping[str, Any]]
    """By index, the error of each refused statement."""


class Place(NamedTuple):
    """Where calls are sent."""

    client: Any
    database: Any
    items: Any


class Transaction(NamedTuple):
    """A transaction that has started."""

    at: Place
    session: Any


class Client:
    """Sends the driver's calls, each with a time-out, whatever the client's own settings are."""

    def __init__(self, options: Options, borrowed: Any) -> None:
        self.options = options
        self.closed = False
        self.tells_time = True
        """Whether the server supports `$$NOW`."""
        self.owned = borrowed is None
        if borrowed is not None and (
            isinstance(borrowed, pymongo.MongoClient) or not hasattr(borrowed, "start_session")
        ):
            raise ConfigurationError(
                f"client is a {type(borrowed).__name__}: pass pymongo's AsyncMongoClient, or an AsyncIOMotorClient"
            )
        self._concern = WriteConcern("majority", j=options.durability == "disk")
        self._level = "local"
        self._room = asyncio.Semaphore(options.pool_size)
        self._listening: set[Subscription] = set()
        self._parting: set[asyncio.Task[None]] = set()
        self._used = monotonic()
        self.at = self._place(self._made() if borrowed is None else borrowed)

    def reading(self, level: str) -> None:
        """Read what the majority has (`snapshot`, `majority`), or what a standalone server has (`local`)."""
        self._level = level
        self.at = self._place(self.at.client)

    async def call(self, act: Callable[[Place], Awaitable[T]], at: Place | None = None) -> T:
        """Make one call, with a time-out; with our own client, as many at once as it can have connections."""
        if not self.owned:
            with pymongo.timeout(self.options.timeout):
                return await act(at or self.at)
        if self._room.locked():
            try:
                async with asyncio.timeout(self.options.connect_timeout):
                    await self._room.acquire()
            except TimeoutError as error:
                raise UnavailableError(
                    f"all {self.options.pool_size} connections to {self.options.place} stayed busy for "
                    f"{self.options.connect_timeout:g} s: raise 'pool_size', or check the server's load"
                ) from without_frames(error)
        else:
            await self._room.acquire()
        at = at or self.at
        try:
            if not at.client.topology_description.has_writable_server():
                with pymongo.timeout(self.options.connect_timeout):  # to find a server, which has a time-out of its own
                    await at.client.admin.command("ping")
            with pymongo.timeout(self.options.timeout):
                answer = await act(at)
        except errors.NetworkTimeout:
            self._renew(at)
            raise
        finally:
            self._room.release()
        self._used = monotonic()
        return answer

    async def command(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Send the server a command that changes nothing, and again if the connection had ended."""
        try:
            return await self._command(command)
        except (errors.ServerSelectionTimeoutError, errors.NetworkTimeout):
            raise
        except errors.AutoReconnect:
            return await self._command(command)

    async def clock(self) -> int:
        """Return the server's clock, in milliseconds since 1970."""
        return int((await self.command({"hello": 1}))["localTime"])

    async def find(
        self, query: Mapping[str, Any], *, values: bool, within: Transaction | None = None, limit: int = 0
    ) -> list[dict[str, Any]]:
        """Return all documents, in any order, with the server's time in `now` if the server supports `$$NOW`."""
        session = within.session if within is not None else None

        async def read(at: Place) -> list[dict[str, Any]]:
            found = at.items.find(query, _VALUES if values else _BARE, session=session, limit=limit)
            documents: list[dict[str, Any]] = await found.to_list(None)
            return documents

        return await self.call(read, within.at if within is not None else None)

    async def run(self, query: Mapping[str, Any], *, values: bool, reverse: bool, limit: int) -> list[dict[str, Any]]:
        """Return up to `limit` documents in key order, with `now` as in `find`.

        Ends with the first one after about 1 MiB.
        """

        async def read(at: Place) -> list[dict[str, Any]]:
            documents: list[dict[str, Any]] = []
            size = 0
            found = at.items.find(query, _VALUES if values else _BARE, limit=limit)
            found = found.sort("_id", pymongo.DESCENDING if reverse else pymongo.ASCENDING)
            async for document in found:
                documents.append(document)
                if size >= PAGE_BYTES:
                    break
                size += size_of(document.get("value") or "")
            await found.close()
            return documents

        return await self.call(read)

    async def write(
        self,
        verb: Literal["update", "delete"],
        statements: Sequence[Mapping[str, Any]],
        within: Transaction | None = None,
    ) -> Answer:
        """Send as many commands as necessary. Outside of a transaction, their statements are independent.

        Outside of a transaction, it raises Limpet's errors: `UnavailableError` with `sent` if some may have happened,
        or may not last.
        """
        if within is None and monotonic() - self._used > _IDLE:
            await self.command({"ping": 1})  # so that writes are never sent to a dead server, with an unknown outcome
        total = place = 0
        failed: dict[int, Mapping[str, Any]] = {}
        for part in _parts(statements):
            try:
                said = await self._written(verb, part, within)
            except UnavailableError as error:
                raise UnavailableError(str(error), sent=error.sent or place > 0) from error.__cause__
            total += said["n"]
            failed |= {place + each["index"]: each for each in said.get("writeErrors", ())}
            place += len(part)
        return Answer(total, failed)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction, committed at the end of the block, and aborted by any error in it.

        Raises `UnavailableError` with `sent` if it is unknown whether it was committed.
        """
        at = self.at
        session = await done(at.client.start_session(causal_consistency=False))
        try:
            await done(
                session.start_transaction(
                    read_concern=ReadConcern("snapshot"),
                    write_concern=self._concern,
                    read_preference=ReadPreference.PRIMARY,
                )
            )
            try:
                yield Transaction(at, session)
            except BaseException:
                with suppress(*CLIENT_ERRORS):
                    await self.call(lambda _: session.abort_transaction(), at)
                raise
            try:
                await self.call(lambda _: session.commit_transaction(), at)
            except CLIENT_ERRORS as error:
                if transient(error) or isinstance(error, UnavailableError):
                    raise
                raise of_mongodb(error, self.options.place, sent=True) from without_frames(error)
        finally:
            with suppress(*CLIENT_ERRORS):  # an error while giving it back says nothing about the call
                await session.end_session()

    @asynccontextmanager
    async def listening(self, subscription: Subscription, hear: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Keep `hear` running during the block, until it ends or the client is closed."""

        async def listen() -> None:
            try:
                with suppress(*CLIENT_ERRORS):  # whatever ended it, the watch starts again
                    await hear()
            finally:
                subscription.end()

        ear = asyncio.create_task(listen())
        self._listening.add(subscription)
        try:
            yield
        finally:
            self._listening.discard(subscription)
            while not ear.done():  # pymongo loses cancellations that arrive while it starts a request
                ear.cancel()
                await asyncio.wait([ear], timeout=0.1)
            if not ear.cancelled():
                ear.result()

    async def close(self) -> None:
        """Close our own client. The application's stays open."""
        self.closed = True
        for subscription in self._listening:
            subscription.end()
        for parting in self._parting:
            parting.cancel()
        if self._parting:
            await asyncio.wait(self._parting)
        if self.owned:
            await self.at.client.close()

    async def _command(self, command: Mapping[str, Any], within: Transaction | None = None) -> dict[str, Any]:
        session = within.session if within is not None else None

        async def ask(at: Place) -> dict[str, Any]:
            said: dict[str, Any] = await at.database.command(dict(command), session=session, codec_options=CODEC)
            return said

        return await self.call(ask, within.at if within is not None else None)

    async def _written(
        self, verb: str, statements: list[Mapping[str, Any]], within: Transaction | None
    ) -> dict[str, Any]:
        place = self.options.place
        command: dict[str, Any] = {verb: self.options.collection, f"{verb}s": statements}
        if within is not None:
            return await self._command(command, within)
        try:
            said = await self._command({**command, "ordered": False, "writeConcern": self._concern.document})
        except UnavailableError:
            raise
        except CLIENT_ERRORS as error:
            raise of_mongodb(error, place, sent=True) from without_frames(error)
        if concern := said.get("writeConcernError"):
            raise UnavailableError(
                f"{place} could not write to disk on the majority ({concern.get('errmsg')}): check the "
                "replica set, then retry",
                sent=True,
            )
        return said

    def _made(self) -> AsyncMongoClient[dict[str, Any]]:
        milliseconds = int(self.options.connect_timeout * 1000)
        with catch_warnings():
            simplefilter("error", UserWarning)  # it only warns about options that it ignores
            try:
                return AsyncMongoClient(
                    self.options.url,
                    maxPoolSize=0,  # we count the calls ourselves; a watch has an additional connection
                    connectTimeoutMS=milliseconds,
                    serverSelectionTimeoutMS=milliseconds,
                    retryWrites=False,
                    driver=DriverInfo("Limpet"),
                )
            except UserWarning as warning:
                raise ConfigurationError(
                    f"{self.options.place} cannot be reached with these settings: {warning}"
                ) from without_frames(warning)

    def _place(self, client: Any) -> Place:
        database = client.get_database(
            self.options.database_name,
            codec_options=CODEC,
            read_preference=ReadPreference.PRIMARY,
            write_concern=self._concern,
            read_concern=ReadConcern(self._level),
        )
        return Place(client, database, database.get_collection(self.options.collection))

    def _renew(self, at: Place) -> None:
        """Reconnect: if one connection is dead, the others probably are too, and each would cost a time-out."""
        if self.closed or at is not self.at:
            return
        self.at = self._place(self._made())
        parting = asyncio.create_task(self._part(at.client))
        self._parting.add(parting)
        parting.add_done_callback(self._parting.discard)

    async def _part(self, client: AsyncMongoClient[dict[str, Any]]) -> None:
        """Close a client when no caller can be waiting for it any more."""
        try:
            await asyncio.sleep(self.options.timeout)
        finally:
            await client.close()


def _parts(statements: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """pymongo cannot send a command larger than a document."""
    part: list[Mapping[str, Any]] = []
    room = _COMMAND_BYTES
    for statement in statements:
        change = statement.get("u", {})
        value = change.get("$set", change).get("value", "")
        size = size_of(value) + _AROUND
        if part and size > room:
            yield part
            part, room = [], _COMMAND_BYTES
        part.append(statement)
        room -= size
    if part:
        yield part


async def done(made: Any) -> Any:
    """Return the result, whether or not the library's method is a coroutine (they differ in pymongo and Motor)."""
    return await made if isawaitable(made) else made
