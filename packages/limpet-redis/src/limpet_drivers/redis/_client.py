"""Send commands to the primary. Each is sent once, and it is known whether it was sent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from hashlib import sha1
from itertools import count
from random import uniform
from time import monotonic
from typing import Any

import hiredis
from limpet import LimpetError, UnavailableError
from limpet.driver.kit import Connections, Subscription, check_process, without_frames

from redis import exceptions
from redis.asyncio import Redis, RedisCluster

from ._errors import CLIENT_ERRORS, of_redis
from ._layout import Names
from ._options import Address, Options
from ._servers import heard, servers_of

__all__ = ["Client"]

_REFUSED = (exceptions.AskError, exceptions.TryAgainError, exceptions.ClusterDownError, exceptions.ReadOnlyError)
"""The server is not (yet, or any longer) the primary of all our keys; MOVED is an `AskError`. Nothing was done."""


class UnconnectedError(UnavailableError):
    """Could not connect to the primary: nothing was sent."""


class Client:
    """Sends one command at a time over a connection, and knows whether it was sent."""

    def __init__(self, options: Options, borrowed: Redis | RedisCluster | None, names: Names) -> None:
        self.options = options
        self._servers = servers_of(options, borrowed, names)
        self._connections: Connections[Any] = Connections(
            self._connect,
            alive=self._servers.keeps,
            end=self._servers.end,
            size=min(options.pool_size, self._servers.most),
            timeout=options.connect_timeout,
            place=options.place,
            socket=self._servers.descriptor,
        )
        self._patience = options.connect_timeout
        """How many seconds a call waits for another primary to take over."""
        self._told: asyncio.Task[None] | None = None
        self.closed = False
        self._listening: set[Subscription] = set()

    @property
    def connections_made(self) -> int:
        """How many connections the driver itself has made."""
        return self._connections.made

    def opened(self) -> None:
        """Let calls wait for another primary as long as for an answer, and listen to announcements of one."""
        self._patience = self.options.timeout
        if self._servers.tells:
            self._told = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        """A primary that was replaced keeps accepting writes, which are lost, until the sentinels demote it.

        So leave it at once.
        """
        process = os.getpid()
        while True:
            check_process(process, self.options.place)
            with suppress(*CLIENT_ERRORS, LimpetError):
                async for address in self._servers.switches():
                    if address != self._servers.at:
                        self._servers.moved(address)
                        await self._connections.drop()
            await asyncio.sleep(uniform(0.5, 1.0))

    async def script(self, script: str, keys: Sequence[str], *arguments: Any) -> Any:
        """Run a script. Raises `UnavailableError` with `sent` if it may have run, and never sends it twice."""
        try:
            return await self.command("EVALSHA", _digest(script), len(keys), *keys, *arguments)
        except exceptions.NoScriptError:
            return await self.command("EVAL", script, len(keys), *keys, *arguments)

    async def ask(self, script: str, keys: Sequence[str], *arguments: Any) -> Any:
        """Run a script that only reads. If the connection is lost, it is sent once more, which does no harm."""
        try:
            return await self.script(script, keys, *arguments)
        except UnavailableError as error:
            if not error.sent or isinstance(error.__cause__, TimeoutError):
                raise
        return await self.script(script, keys, *arguments)

    async def command(self, *words: Any) -> Any:
        """Send one command and return the server's answer. Raises redis-py's `ResponseError`, or Limpet's errors.

        In a cluster and behind sentinels, a command that was certainly not executed is sent again: redirections are
        followed, and calls wait while a slot is moved or another primary is elected.
        """
        until = monotonic() + self._patience
        beside: Address | None = None
        for attempt in count():
            try:
                return await self._sent(words, beside)
            except (*_REFUSED, UnavailableError) as error:
                again = self._servers.moves
                if again:
                    beside = await self._followed(error)
                    again = monotonic() <= until and isinstance(error, (*_REFUSED, UnconnectedError))
                if not again and attempt == 0 and isinstance(error, exceptions.ReadOnlyError):
                    await self._connections.drop()
                    continue
                if not again and isinstance(error, UnconnectedError):  # an error of this module only
                    raise UnavailableError(str(error)) from error.__cause__
                if not again:
                    raise
            await asyncio.sleep(uniform(0.5, 1.0) * min(0.5, 0.01 * (2 ** min(attempt, 9) - 1)))  # first: no pause
        raise AssertionError("unreachable: the loop ends by an answer or an error")

    async def _followed(self, error: Exception) -> Address | None:
        """Note where the primary is, according to an answer.

        Returns the address if only this command must be sent elsewhere.
        """
        if isinstance(error, exceptions.TryAgainError):
            return None
        address = None
        if isinstance(error, exceptions.AskError):
            address = error.host or (self._servers.at or ("",))[0], int(error.port)
            if not isinstance(error, exceptions.MovedError):
                return address
        self._servers.moved(address)
        await self._connections.drop()
        return None

    async def _sent(self, words: Sequence[Any], beside: Address | None) -> Any:
        sent = False
        task = asyncio.current_task()
        asked = task.cancelling() if task is not None else 0
        try:
            async with self._connections.one() if beside is None else self._beside(beside) as connection:
                # redis-py's asyncio connection does this in Python. (Its stub requires a tuple of one.)
                packed = hiredis.pack_command(words)  # type: ignore[arg-type]
                sent = True
                if beside is None and (link := self._servers.link(connection)) is not None:
                    answer = await link.ask(packed, self.options.timeout)
                    if isinstance(answer, exceptions.ReadOnlyError):  # as below
                        link.is_lost = True
                    if isinstance(answer, exceptions.RedisError):
                        raise answer
                    return answer
                async with asyncio.timeout(self.options.timeout):
                    if beside is not None:
                        await connection.send_command("ASKING", check_health=False)
                        await connection.read_response()
                    await connection.send_packed_command(packed, check_health=False)
                    try:
                        answer = await connection.read_response()
                    except exceptions.ReadOnlyError:  # no longer a primary: its name may be another server's now
                        await connection.disconnect(nowait=True)
                        raise
                if task is not None and task.cancelling() > asked:
                    raise asyncio.CancelledError  # lost in the time-out of an application's client, on Python 3.11
                return answer
        except (LimpetError, exceptions.ResponseError):
            raise
        except CLIENT_ERRORS as error:
            raise of_redis(error, self.options.place, sent=sent) from without_frames(error)

    @asynccontextmanager
    async def _beside(self, address: Address) -> AsyncIterator[Any]:
        connection = await self._fresh(address)
        try:
            yield connection
        finally:
            await connection.disconnect(nowait=True)

    async def _connect(self) -> Any:
        return await self._made(self._servers.connect())

    async def _fresh(self, address: Address | None = None) -> Any:
        return await self._made(self._servers.fresh(address))

    async def _made(self, connecting: Coroutine[Any, Any, Any]) -> Any:
        """With our own time-out: redis-py's ends when the socket is connected, and a server may hang after that."""
        try:
            async with asyncio.timeout(self.options.connect_timeout):
                return await connecting
        except UnavailableError as error:
            raise UnconnectedError(str(error)) from without_frames(error)
        except LimpetError:
            raise
        except CLIENT_ERRORS as error:
            ours = of_redis(error, self.options.place, connecting=True)
            raise (UnconnectedError(str(ours)) if isinstance(ours, UnavailableError) else ours) from without_frames(
                error
            )

    @asynccontextmanager
    async def listening(self, channel: str, subscription: Subscription) -> AsyncIterator[None]:
        """Push every message on the channel, once subscribed, until the connection ends."""
        connection = await self._fresh()
        self._connections.add(connection)

        async def hear() -> None:
            try:
                async for kind, *said in heard(connection, channel, self.options.timeout):
                    if kind == b"message":
                        subscription.push(said[-1].decode("utf-8", "replace"))  # whoever sent it
            finally:
                subscription.end()

        ear = None
        self._listening.add(subscription)
        try:
            async with asyncio.timeout(self.options.connect_timeout):
                await connection.send_command("SUBSCRIBE", channel, check_health=False)
                await connection.read_response(push_request=True)
            ear = asyncio.create_task(hear())  # a separate task, which closing can end
            yield
        finally:
            self._listening.discard(subscription)
            if ear is not None:
                ear.cancel()
                await asyncio.gather(ear, return_exceptions=True)
            self._connections.discard(connection)
            await connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Close our own connections. The application's client stays open."""
        self.closed = True
        if self._told is not None:
            self._told.cancel()
            await asyncio.gather(self._told, return_exceptions=True)
        for subscription in self._listening:
            subscription.end()
        await self._connections.close()


@cache
def _digest(script: str) -> str:
    return sha1(script.encode(), usedforsecurity=False).hexdigest()
