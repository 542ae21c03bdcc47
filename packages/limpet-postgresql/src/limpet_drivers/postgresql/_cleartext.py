"""No password in cleartext without TLS. asyncpg sends it to any server that asks, so what it writes is inspected."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

__all__ = ["CleartextGuard"]

_DIGESTED = re.compile(rb"md5[0-9a-f]{32}\x00|SCRAM-SHA-256(?:-PLUS)?\x00.*|c=[A-Za-z0-9+/=]+,r=.*,p=.*", re.DOTALL)
"""What may be sent to a server that requests proof of the password."""
_TOKENS = (b"\x60", b"\xa1", b"NTLMSSP")
"""How messages of GSSAPI and SSPI start, which contain no password."""


class CleartextGuard:
    """An event loop for `asyncpg.connect` that closes connections before a password is sent in cleartext.

    With `tls_counts`, a connection that has started TLS may send one. Sockets on this machine always may.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, tls_counts: bool) -> None:
        self._loop = loop
        self._tls_counts = tls_counts
        self._watched: list[_Watched] = []
        self.refused = False
        """Whether a server asked for one."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(self, factory: Callable[[], Any], *args: Any, **options: Any) -> tuple[Any, Any]:
        """Like the loop's own method, with an inspected transport."""
        transport, first = await self._loop.create_connection(lambda: _First(self, factory), *args, **options)
        return first.watched if options.get("ssl") is None or not self._tls_counts else transport, first.protocol

    async def start_tls(self, transport: Any, *args: Any, **options: Any) -> Any:
        """Like the loop's own method."""
        inner = transport.inner if isinstance(transport, _Watched) else transport
        secured = await self._loop.start_tls(inner, *args, **options)
        return secured if secured is None or self._tls_counts else self.watch(secured)

    def watch(self, transport: Any) -> _Watched:
        """Return a transport that inspects everything that is written, until `end`."""
        watched = _Watched(transport, self)
        self._watched.append(watched)
        return watched

    def abort(self) -> None:
        """Close what was opened: asyncpg forgets a connection if the server sent nonsense."""
        for each in self._watched:
            each.inner.abort()

    def end(self) -> None:
        """Stop inspecting: the password has been sent, or never will be."""
        for each in self._watched:
            each.write = each.inner.write  # type: ignore[method-assign]


class _First(asyncio.Protocol):
    """Only exists to give the actual protocol the inspected transport."""

    def __init__(self, guard: CleartextGuard, factory: Callable[[], Any]) -> None:
        self._guard = guard
        self.protocol = factory()
        self.watched: Any = None

    def connection_made(self, transport: Any) -> None:
        self.watched = self._guard.watch(transport)
        transport.set_protocol(self.protocol)
        self.protocol.connection_made(self.watched)


class _Watched:
    def __init__(self, inner: Any, guard: CleartextGuard) -> None:
        self.inner = inner
        self._guard = guard

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def write(self, data: Any) -> None:
        sent = bytes(data)
        answer = sent[5:]
        if sent[:1] == b"p" and not _DIGESTED.fullmatch(answer) and not answer.startswith(_TOKENS):
            self._guard.refused = True
            self.inner.abort()
            return
        self.inner.write(data)
