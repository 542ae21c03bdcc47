"""The client: one of our own, or the application's, which may be Motor's. No write passes through its retries."""

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
"""A page stops near this many bytes of values."""

_BARE = {"etag": 1, "updatedAt": 1, "expiresAt": 1, "now": "$$NOW"}
_VALUES = {"value": 1, **_BARE}
_COMMAND_BYTES = 16_000_000
_AROUND = 3072
"""Bytes of a statement that are not the value: the key, twice, and all the names."""
_IDLE = 0.5
"""Seconds after which a connection may have ended without our knowing: pymongo does not listen to one that is idle."""


class Answer(NamedTuple):
    """What a server says of statements."""

    found: int
    """Documents that they matched, made or deleted."""
    failed: dict[int, Mapping[str, Any]]
    """By its place, what is said of each statement that was refused."""


class Place(NamedTuple):
    """Where calls go."""

    client: Any
    database: Any
    items: Any


class Transaction(NamedTuple):
    """One that has begun."""

    at: Place
    session: Any


class Client:
    """Sends what the driver asks for, each call within the time-out, whatever the client's own settings are."""

    def __init__(self, options: Options, borrowed: Any) -> None:
        self.options = options
        self.closed = False
        self.tells_time = True
        """Whether the server knows `$$NOW`."""
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
        """Read as of the majority (`snapshot`, `majority`), or what a server that stands alone has (`local`)."""
        self._level = level
        self.at = self._place(self.at.client)

    async def call(self, act: Callable[[Place], Awaitable[T]], at: Place | None = None) -> T:
        """One call, within the time-out; on a client of our own, of as many at once as it may have connections."""
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
                with pymongo.timeout(self.options.connect_timeout):  # to find one, for which the call has other time
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
        """Ask the server something that changes nothing; once more where the connection had ended meanwhile."""
        try:
            return await self._command(command)
        except (errors.ServerSelectionTimeoutError, errors.NetworkTimeout):
            raise
        except errors.AutoReconnect:
            return await self._command(command)

    async def clock(self) -> int:
        """The server's clock, in milliseconds since 1970."""
        return int((await self.command({"hello": 1}))["localTime"])

    async def find(
        self, query: Mapping[str, Any], *, values: bool, within: Transaction | None = None, limit: int = 0
    ) -> list[dict[str, Any]]:
        """All documents, in any order, with the server's time in `now` where the server knows `$$NOW`."""
        session = within.session if within is not None else None

        async def read(at: Place) -> list[dict[str, Any]]:
            found = at.items.find(query, _VALUES if values else _BARE, session=session, limit=limit)
            documents: list[dict[str, Any]] = await found.to_list(None)
            return documents

        return await self.call(read, within.at if within is not None else None)

    async def run(self, query: Mapping[str, Any], *, values: bool, reverse: bool, limit: int) -> list[dict[str, Any]]:
        """Up to `limit` documents in the order of their keys, with `now` like `find`; behind about 1 MiB one more."""

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
        """As many commands as it takes, their statements independent of each other outside of a transaction.

        Outside of one it raises ours: `UnavailableError` with `sent` where some of it may have happened, or may not last.
        """
        if within is None and monotonic() - self._used > _IDLE:
            await self.command({"ping": 1})  # so that no write is sent to nobody, and its outcome unknown
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
        """A transaction, committed at the end of the block and aborted by whatever is raised in it.

        Raises `UnavailableError` with `sent` where nobody knows whether it was committed.
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
            with suppress(*CLIENT_ERRORS):  # an error in giving it back says nothing of what was done
                await session.end_session()

    @asynccontextmanager
    async def listening(self, subscription: Subscription, hear: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Let `hear` go on for the length of the block, until it ends or somebody closes."""

        async def listen() -> None:
            try:
                with suppress(*CLIENT_ERRORS):  # the end, whatever it was: the watch begins anew
                    await hear()
            finally:
                subscription.end()

        ear = asyncio.create_task(listen())
        self._listening.add(subscription)
        try:
            yield
        finally:
            self._listening.discard(subscription)
            while not ear.done():  # pymongo loses a cancellation that comes while it begins to ask
                ear.cancel()
                await asyncio.wait([ear], timeout=0.1)
            if not ear.cancelled():
                ear.result()

    async def close(self) -> None:
        """Close what is ours; the application's client stays open."""
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
            simplefilter("error", UserWarning)  # it warns of an option that it then leaves out
            try:
                return AsyncMongoClient(
                    self.options.url,
                    maxPoolSize=0,  # we count the calls ourselves; a watch has a connection beside them
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
        """Connect anew: where one connection is dead in silence the others probably are, and each would cost a time-out."""
        if self.closed or at is not self.at:
            return
        self.at = self._place(self._made())
        parting = asyncio.create_task(self._part(at.client))
        self._parting.add(parting)
        parting.add_done_callback(self._parting.discard)

    async def _part(self, client: AsyncMongoClient[dict[str, Any]]) -> None:
        """Close a client when nobody can be waiting for it any more."""
        try:
            await asyncio.sleep(self.options.timeout)
        finally:
            await client.close()


def _parts(statements: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """pymongo sends no command that is larger than a document may be."""
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
    """What pymongo gives as a coroutine and Motor as it is, or the other way round."""
    return await made if isawaitable(made) else made
