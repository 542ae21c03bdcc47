"""The client: one of our own, or the application's, which may be Motor's. No write passes through its retries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from inspect import isawaitable
from typing import Any, Literal, NamedTuple

import pymongo
from bson import DatetimeMS
from holdfast import ConfigurationError, UnavailableError
from holdfast.driver import Hearing, size_of
from pymongo import AsyncMongoClient, ReadPreference, WriteConcern, errors
from pymongo.driver_info import DriverInfo
from pymongo.read_concern import ReadConcern

from ._errors import CLIENT_ERRORS, of_mongodb, transient
from ._layout import CODEC, EXPIRY
from ._options import Options

__all__ = ["PAGE_BYTES", "Client"]

PAGE_BYTES = 1024 * 1024
"""A page stops near this many bytes of values."""

_BARE = {"etag": 1, "updatedAt": 1, "expiresAt": 1, "now": "$$NOW"}
_VALUES = {"value": 1, **_BARE}
_CHANGES = [{"$project": {"operationType": 1, "documentKey": 1, "updateDescription.updatedFields.etag": 1}}]
_AWAIT_MS = 1000
_COMMAND_BYTES = 16_000_000
_AROUND = 3072
"""Bytes of a statement that are not the value: the key, twice, and all the names."""


class Answer(NamedTuple):
    """What a server says of statements."""

    found: int
    """Documents that they matched, made or deleted."""
    failed: dict[int, Mapping[str, Any]]
    """By its place, what is said of each statement that was refused."""


class Client:
    """Sends what the driver asks for, each call within the time-out, whatever the client's own settings are."""

    def __init__(self, options: Options, borrowed: Any) -> None:
        self.options = options
        self.closed = False
        self.tells_time = True
        self._own: AsyncMongoClient[dict[str, Any]] | None = None
        if borrowed is None:
            milliseconds = int(options.connect_timeout * 1000)
            borrowed = self._own = AsyncMongoClient(
                options.url,
                maxPoolSize=options.pool_size,
                connectTimeoutMS=milliseconds,
                serverSelectionTimeoutMS=milliseconds,
                waitQueueTimeoutMS=milliseconds,
                retryWrites=False,
                driver=DriverInfo("Holdfast"),
            )
        elif isinstance(borrowed, pymongo.MongoClient) or not hasattr(borrowed, "start_session"):
            raise ConfigurationError(
                f"client is a {type(borrowed).__name__}: give an AsyncMongoClient of pymongo, or an AsyncIOMotorClient"
            )
        self._client = borrowed
        self._concern = WriteConcern("majority", j=options.durability == "disk")
        self._listening: set[Hearing] = set()
        self.reading("local")

    def reading(self, level: str) -> None:
        """Read as of the majority (`snapshot`, `majority`), or what a server that stands alone has (`local`)."""
        self._database = self._client.get_database(
            self.options.database_name,
            codec_options=CODEC,
            read_preference=ReadPreference.PRIMARY,
            write_concern=self._concern,
            read_concern=ReadConcern(level),
        )
        self._items = self._database.get_collection(self.options.collection)

    async def command(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the server something that changes nothing; once more where the connection had ended meanwhile."""
        try:
            return await self._command(command)
        except errors.ServerSelectionTimeoutError:
            raise
        except errors.AutoReconnect:
            return await self._command(command)

    async def clock(self) -> int:
        """The server's clock, in milliseconds since 1970."""
        return int((await self.command({"hello": 1}))["localTime"])

    async def find(
        self, query: Mapping[str, Any], *, values: bool, session: Any = None, limit: int = 0
    ) -> list[dict[str, Any]]:
        """All documents, in any order, with the server's time in `now` where the server knows `$$NOW`."""
        with pymongo.timeout(self.options.timeout):
            found = self._items.find(query, _VALUES if values else _BARE, session=session, limit=limit)
            documents: list[dict[str, Any]] = await found.to_list(None)
        return documents

    async def run(self, query: Mapping[str, Any], *, values: bool, reverse: bool, limit: int) -> list[dict[str, Any]]:
        """Up to `limit` documents in the order of their keys, with `now` like `find`; behind about 1 MiB one more."""
        documents: list[dict[str, Any]] = []
        size = 0
        with pymongo.timeout(self.options.timeout):
            found = self._items.find(query, _VALUES if values else _BARE, limit=limit)
            found = found.sort("_id", pymongo.DESCENDING if reverse else pymongo.ASCENDING)
            async for document in found:
                documents.append(document)
                if size >= PAGE_BYTES:
                    break
                size += size_of(document.get("value") or "")
            await found.close()
        return documents

    async def write(
        self, verb: Literal["update", "delete"], statements: Sequence[Mapping[str, Any]], session: Any = None
    ) -> Answer:
        """As many commands as it takes, their statements independent of each other outside of a transaction.

        Outside of one it raises ours: `UnavailableError` with `sent` where some of it may have happened, or may not last.
        """
        found = done = 0
        failed: dict[int, Mapping[str, Any]] = {}
        for part in _parts(statements):
            try:
                said = await self._written(verb, part, session)
            except UnavailableError as error:
                raise UnavailableError(str(error), sent=error.sent or done > 0) from error.__cause__
            found += said["n"]
            failed |= {done + each["index"]: each for each in said.get("writeErrors", ())}
            done += len(part)
        return Answer(found, failed)

    async def _written(self, verb: str, statements: list[Mapping[str, Any]], session: Any) -> dict[str, Any]:
        place = self.options.place
        command: dict[str, Any] = {verb: self.options.collection, f"{verb}s": statements}
        if session is not None:
            return await self._command(command, session)
        try:
            said = await self._command({**command, "ordered": False, "writeConcern": self._concern.document})
        except CLIENT_ERRORS as error:
            raise of_mongodb(error, place, sent=True) from error
        if concern := said.get("writeConcernError"):
            raise UnavailableError(
                f"{place} could not give a write to the majority and its disks ({concern.get('errmsg')}): look at the "
                "replica set, then retry",
                sent=True,
            )
        return said

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """A session with a transaction, committed at the end of the block and aborted by whatever is raised in it.

        Raises `UnavailableError` with `sent` where nobody knows whether it was committed.
        """
        session = await _done(self._client.start_session(causal_consistency=False))
        try:
            await _done(
                session.start_transaction(
                    read_concern=ReadConcern("snapshot"),
                    write_concern=self._concern,
                    read_preference=ReadPreference.PRIMARY,
                )
            )
            try:
                yield session
            except BaseException:
                with pymongo.timeout(self.options.timeout), suppress(*CLIENT_ERRORS):
                    await session.abort_transaction()
                raise
            with pymongo.timeout(self.options.timeout):
                try:
                    await session.commit_transaction()
                except errors.PyMongoError as error:
                    if transient(error):
                        raise
                    raise of_mongodb(error, self.options.place, sent=True) from error
        finally:
            with suppress(*CLIENT_ERRORS):  # an error in giving it back says nothing of what was done
                await session.end_session()

    async def ask_for_now(self) -> None:
        """Find out whether reads can tell the time."""
        with pymongo.timeout(self.options.timeout):
            try:
                found = await _done(self._database.aggregate([{"$documents": [{"now": "$$NOW"}]}]))
                (said,) = await found.to_list(None)
                self.tells_time = isinstance(said.get("now"), DatetimeMS)
            except (errors.OperationFailure, ValueError):  # MongoDB before 5.1, and others
                self.tells_time = False

    async def prepare(self) -> None:
        """Make the collection and its index when they are missing. Raises `ConfigurationError` for one of another kind."""
        options = self.options
        with pymongo.timeout(options.timeout):
            found = await _done(self._database.list_collections(filter={"name": options.collection}))
            for known in await found.to_list(None):
                collation = known.get("options", {}).get("collation", {}).get("locale", "simple")
                if known.get("type", "collection") != "collection" or collation != "simple":
                    raise ConfigurationError(
                        f"{options.place} is a {known.get('type')} with the collation {collation!r}: choose another "
                        "collection, which is made when it is missing"
                    )
                if EXPIRY in await self._items.index_information():
                    return
            await self._items.create_index("expiresAt", name=EXPIRY, expireAfterSeconds=0)

    @asynccontextmanager
    async def listening(self, hearing: Hearing) -> AsyncIterator[None]:
        """Tell of every change of an item, once live, and of the end of the stream."""
        with pymongo.timeout(self.options.connect_timeout):
            stream = await _done(self._items.watch(_CHANGES, max_await_time_ms=_AWAIT_MS))
            first = None if self._own is not None else await stream.try_next()  # Motor asks the server only now

        def tell(change: Mapping[str, Any]) -> None:
            updated = (change.get("updateDescription") or {}).get("updatedFields")
            if updated is not None and "etag" not in updated:
                return  # it was only checked
            key = (change.get("documentKey") or {}).get("_id")
            hearing.tell(key if isinstance(key, str) else "")  # what has no key is the end of the whole collection

        async def hear() -> None:
            try:
                if first is not None:
                    tell(first)
                with suppress(*CLIENT_ERRORS):  # the end, whatever it was: `hints` begins anew
                    async for change in stream:
                        tell(change)
            finally:
                hearing.end()

        ear = asyncio.create_task(hear())  # a task of its own, which a close can end
        self._listening.add(hearing)
        try:
            yield
        finally:
            self._listening.discard(hearing)
            ear.cancel()
            await asyncio.wait([ear])
            if not ear.cancelled():
                ear.result()
            with suppress(*CLIENT_ERRORS):
                await stream.close()

    async def close(self) -> None:
        """Close what is ours; the application's client stays open."""
        self.closed = True
        for hearing in self._listening:
            hearing.end()
        if self._own is not None:
            await self._own.close()

    async def _command(self, command: Mapping[str, Any], session: Any = None) -> dict[str, Any]:
        with pymongo.timeout(self.options.timeout):
            said: dict[str, Any] = await self._database.command(dict(command), session=session, codec_options=CODEC)
        return said


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


async def _done(made: Any) -> Any:
    """What pymongo gives as a coroutine and Motor as it is, or the other way round."""
    return await made if isawaitable(made) else made
