"""Commands on a connection that redis-py opened, bypassing its stream: data goes to hiredis and then to the caller."""

from __future__ import annotations

import asyncio
from typing import Any

import hiredis

from redis import exceptions

__all__ = ["Link"]

_NOTHING = object()
_GONE = "the server closed the connection"


class Link(asyncio.Protocol):
    """Sends one command at a time. In redis-py, half the cost of a short call is the asyncio stream.

    redis-py connects, authenticates and disconnects; from then on, this object receives the answers.
    """

    def __init__(self, connection: Any) -> None:
        """`connection` is one of redis-py's, connected, with no answers outstanding."""
        self.is_lost = False
        self._transport: asyncio.Transport = connection._writer.transport
        self._reader = hiredis.Reader(
            protocolError=exceptions.InvalidResponse,
            replyError=connection._parser.parse_error,
            notEnoughData=_NOTHING,
        )
        self._waiting: asyncio.Future[Any] | None = None
        self._until = 0.0
        """When the waiting call times out, by the event loop's clock."""
        self._clock: asyncio.TimerHandle | None = None
        self._transport.set_protocol(self)

    async def ask(self, packed: bytes, timeout: float) -> Any:
        """Send a command and return the answer; an error answer is returned too.

        Raises `TimeoutError`, or the error that ended the connection. If the call is cancelled or times out, the
        connection can no longer be used: `is_lost`.
        """
        loop = asyncio.get_running_loop()
        waiting = self._waiting = loop.create_future()
        self._until = loop.time() + timeout
        if self._clock is None:  # one for many calls, because a timer costs as much as the rest of this
            self._clock = loop.call_at(self._until, self._look, loop)
        try:
            self._transport.write(packed)
            return await waiting
        except BaseException:
            self.is_lost = True
            self._transport.abort()
            raise
        finally:
            self._waiting = None

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            answer = self._reader.gets()
            while isinstance(answer, hiredis.PushNotification):  # these are not answers
                answer = self._reader.gets()
        except exceptions.RedisError as error:
            self._lose(error)
            return
        if answer is _NOTHING:
            return
        if self._waiting is None or self._reader.has_data():
            self._lose(exceptions.ConnectionError("the server said something that nobody asked for"))
        elif isinstance(answer, exceptions.ConnectionError):
            self._lose(answer)
        elif not self._waiting.done():
            self._waiting.set_result(answer)

    def eof_received(self) -> None:
        self._lose(exceptions.ConnectionError(_GONE))  # at once, because the next call may be about to start

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(exc or exceptions.ConnectionError(_GONE))

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """End a call that has timed out. While there are calls, check again when the last one would time out."""
        self._clock = None
        if self._waiting is None or self._waiting.done():
            return
        if loop.time() >= self._until:
            self._waiting.set_exception(TimeoutError("no answer in time"))
        else:
            self._clock = loop.call_at(self._until, self._look, loop)

    def _lose(self, error: Exception) -> None:
        self.is_lost = True
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        self._transport.abort()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
