"""The connections: a few of our own, or the application's client. redis-py's own retries are never used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from hashlib import sha1
from typing import Any

from holdfast import ConfigurationError, HoldfastError
from holdfast.driver import Connections, Hearing

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ._errors import CLIENT_ERRORS, of_redis
from ._options import Options

__all__ = ["Client"]


class Client:
    """Sends one command at a time over a connection, and knows whether it was sent."""

    def __init__(self, options: Options, borrowed: Redis | None) -> None:
        self.options = options
        if borrowed is not None:
            self._pool: Any = borrowed.connection_pool
            if self._pool.connection_kwargs.get("decode_responses"):
                raise ConfigurationError(
                    "the client has decode_responses=True, which turns bytes into text: use one without"
                )
        else:
            self._pool = ConnectionPool.from_url(
                options.url,
                socket_connect_timeout=options.connect_timeout,
                socket_timeout=None,  # ours is around the whole call; redis-py's loses cancellations on Python 3.11
                retry=Retry(NoBackoff(), 0),
                retry_on_error=[],
                client_name="holdfast",
            )
        self._borrowed = borrowed is not None
        self._own: Connections[Any] = Connections(
            self._connect,
            alive=_alive,
            end=lambda connection: connection.disconnect(nowait=True),
            size=options.pool_size,
            timeout=options.connect_timeout,
            place=options.place,
        )
        self.closed = False
        self._listening: set[Hearing] = set()

    async def script(self, script: str, keys: Sequence[str], *arguments: Any) -> Any:
        """Run a script. Raises `UnavailableError` with `sent` where it may have run, and never sends it twice."""
        try:
            return await self.command("EVALSHA", _digest(script), len(keys), *keys, *arguments)
        except exceptions.NoScriptError:
            return await self.command("EVAL", script, len(keys), *keys, *arguments)

    async def command(self, *words: Any) -> Any:
        """Send one command and answer what the server says. Raises redis-py's `ResponseError`, else ours."""
        sent = False
        task = asyncio.current_task()
        asked = task.cancelling() if task is not None else 0
        try:
            async with self._connection() as connection:
                packed = connection.pack_command(*words)
                sent = True
                async with asyncio.timeout(self.options.timeout):
                    await connection.send_packed_command(packed, check_health=False)
                    answer = await connection.read_response()
                if task is not None and task.cancelling() > asked:
                    raise asyncio.CancelledError  # lost in the time-out of an application's client, on Python 3.11
                return answer
        except (HoldfastError, exceptions.ResponseError):
            raise
        except CLIENT_ERRORS as error:
            raise of_redis(error, self.options.place, sent=sent) from error

    @asynccontextmanager
    async def listening(self, channel: str, hearing: Hearing) -> AsyncIterator[None]:
        """Tell of every message on the channel, once subscribed; redis-py connects again by itself."""
        listener = PubSub(self._pool)
        await listener.subscribe(channel)
        await listener.get_message(timeout=self.options.connect_timeout)

        async def hear() -> None:
            try:
                while True:
                    message = await listener.get_message(timeout=None)
                    if message is not None:  # one of another kind says that it has subscribed again
                        hearing.tell(message["data"].decode() if message["type"] == "message" else "")
            finally:
                hearing.end()

        ear = asyncio.create_task(hear())  # a task of its own, which a close can end
        self._listening.add(hearing)
        try:
            yield
        finally:
            self._listening.discard(hearing)
            ear.cancel()
            await asyncio.gather(ear, return_exceptions=True)
            with suppress(*CLIENT_ERRORS):
                await listener.aclose()  # type: ignore[no-untyped-call]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        if not self._borrowed:
            async with self._own.one() as connection:
                yield connection
            return
        connection = await self._pool.get_connection()
        try:
            yield connection
        finally:
            await self._pool.release(connection)

    async def _connect(self) -> Any:
        connection = self._pool.make_connection()
        await connection.connect()
        return connection

    async def close(self) -> None:
        """Close what is ours; the application's client stays open."""
        self.closed = True
        for hearing in self._listening:
            hearing.end()
        await self._own.drop()
        if not self._borrowed:
            await self._pool.disconnect()


def _alive(connection: Any) -> bool:
    """Whether neither side has closed it; redis-py itself would look by reading, at every call."""
    return bool(connection.is_connected) and not connection._reader.at_eof()


@cache
def _digest(script: str) -> str:
    return sha1(script.encode(), usedforsecurity=False).hexdigest()
