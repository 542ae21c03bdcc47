"""A network that can be made to fail: a TCP proxy on loopback between a driver and its server."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

__all__ = ["Proxy"]

_CHUNK = 256 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0: closing sends RST, like a machine that has lost its state


@dataclass(slots=True, eq=False)
class _Pair:
    """One client's connection, and the connection to the server that belongs to it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    silent: bool = False
    lose_answer: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def reset(self) -> None:
        for writer in (self.client, self.server):
            plug = writer.get_extra_info("socket")
            if plug is not None and plug.fileno() >= 0:
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class Proxy:
    """`async with Proxy(server.url) as proxy:` and open the driver on `proxy.url`.

    It forwards everything unless told otherwise. It runs in the event loop that enters it.
    """

    def __init__(self, url: str, *, delay: float = 0.0) -> None:
        """`url` is the server's, and contains a port. `delay` is in seconds, one way."""
        self._server_url = url
        self.delay = delay
        self.url = ""
        """The server's URL, with the proxy's address."""
        self.requests = 0
        """How many pieces of data clients have sent: for a client that waits for each answer, its round trips."""
        self.connections = 0
        """How many connections were made."""
        self._pairs: set[_Pair] = set()
        self._cut: tuple[int, bool] | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def __aenter__(self) -> Self:
        parts = urlsplit(self._server_url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._port = parts.hostname, parts.port
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._listener.sockets[0].getsockname()[1]
        at = parts.netloc.rpartition("@")
        self.url = parts._replace(netloc=f"{at[0]}{at[1]}127.0.0.1:{port}").geturl()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._listener.close()
        tasks = [task for pair in self._pairs for task in pair.tasks]
        self.reset()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def cut(self, *, skip: int = 0, acted: bool) -> None:
        """Reset the connection that carries the next request but `skip`: before the server sees it, or, with `acted`,
        as soon as it answers, so that the answer is lost."""
        self._cut = (skip, acted)

    @property
    def cut_pending(self) -> bool:
        """Whether the request that `cut` waits for has not arrived yet."""
        return self._cut is not None or any(pair.lose_answer for pair in self._pairs)

    def mend(self) -> None:
        """Cancel a `cut` that has not happened."""
        self._cut = None
        for pair in self._pairs:
            pair.lose_answer = False

    def silence(self) -> None:
        """From now on, existing connections transmit nothing, and nobody is notified: they are half-open.

        New ones work.
        """
        for pair in self._pairs:
            pair.silent = True

    def reset(self) -> None:
        """Reset every connection."""
        for pair in list(self._pairs):
            pair.reset()

    def freeze(self) -> None:
        """Hold back everything, including new connections, until `thaw`."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Deliver what was held back, and continue."""
        self._flowing.set()

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._flowing.wait()
            from_server, to_server = await asyncio.open_connection(self._host, self._port)
        except OSError:
            to_client.transport.abort()
            return
        pair = _Pair(to_client, to_server)
        self._pairs.add(pair)
        pair.tasks = [
            asyncio.create_task(self._pump(pair, from_client, to_server, asking=True)),
            asyncio.create_task(self._pump(pair, from_server, to_client, asking=False)),
        ]
        await asyncio.wait(pair.tasks)
        self._pairs.discard(pair)
        for writer in (to_client, to_server):
            writer.close()

    async def _pump(
        self, pair: _Pair, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, asking: bool
    ) -> None:
        """Forward what one side sends, each piece with its delay."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        clock = asyncio.get_running_loop().time

        async def deliver() -> None:
            while True:
                due, data = await waiting.get()
                if (left := due - clock()) > 0:
                    await asyncio.sleep(left)
                await self._flowing.wait()
                if not pair.silent:
                    target.write(data)
                    await target.drain()
                if not data:
                    return

        delivering = asyncio.create_task(deliver())
        try:
            while data := await source.read(_CHUNK):
                if asking:
                    self.requests += 1
                    if self._falls(pair):
                        return
                elif pair.lose_answer:
                    pair.lose_answer = False
                    pair.reset()
                    return
                await waiting.put((clock() + self.delay, data))
            await waiting.put((0.0, b""))
            await delivering
        except OSError:
            pass
        finally:
            delivering.cancel()
            if not pair.silent:  # the other side learns of the end, unless it must not
                target.close()

    def _falls(self, pair: _Pair) -> bool:
        """Return whether this request must be cut and not forwarded."""
        if self._cut is None:
            return False
        skip, acted = self._cut
        if skip:
            self._cut = (skip - 1, acted)
            return False
        self._cut = None
        if acted:
            pair.lose_answer = True
            return False
        pair.reset()
        return True
