"""Puts `LimpetEventStore`, within `ResumableSessions`, in the place of the stores of the SDK's tests of resuming.

Those count events from 1, and look at what they have stored: `Counted` does that much for them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import anyio
import pytest
from limpet import open_persistence
from limpet_adapters.mcp import LimpetEventStore, ResumableSessions
from limpet_adapters.mcp._sessions import current
from mcp.server.streamable_http import EventCallback, EventMessage
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from proof.places import place, wrappers


class Counted(LimpetEventStore):
    """Ours, with the ids "1", "2", ... for the tests."""

    def __init__(self) -> None:
        super().__init__(open_persistence(place(), wrappers=wrappers()))
        self._events: list[Any] = []
        self._ids: list[str] = []
        self._changed = anyio.Condition()

    async def store_event(self, stream_id: str, message: Any) -> str:
        event_id = await super().store_event(stream_id, message)
        assert event_id
        request = current.get()
        assert request is not None
        async with self._changed:
            self._ids.append(event_id)
            self._events.append(self._noted(stream_id, str(len(self._ids)), message))
            self._changed.notify_all()
            shown = str(len(self._ids))
        if request.beginning == event_id:
            request.beginning = f"id: {shown}"
        return shown

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        n = int(last_event_id) if last_event_id.isdecimal() else 0

        async def send(event: EventMessage) -> None:
            assert event.event_id is not None
            async with self._changed:
                while event.event_id not in self._ids:
                    await self._changed.wait()
            await send_callback(EventMessage(event.message, str(self._ids.index(event.event_id) + 1)))

        return await super().replay_events_after(self._ids[n - 1] if 0 < n <= len(self._ids) else last_event_id, send)

    async def wait_until_stored(self, count: int) -> None:
        async with self._changed:
            while len(self._events) < count:
                await self._changed.wait()

    def _noted(self, stream_id: str, event_id: str, message: Any) -> Any:
        return stream_id, message


class Noted(Counted):
    """As the other tests' store notes it."""

    def _noted(self, stream_id: str, event_id: str, message: Any) -> Any:
        return stream_id, event_id, message


_make = StreamableHTTPSessionManager.__init__


def _make_within_sessions(self: StreamableHTTPSessionManager, *args: Any, **options: Any) -> None:
    _make(self, *args, **options)
    if isinstance(self.event_store, LimpetEventStore):
        self.asgi_app = ResumableSessions(self.asgi_app, self.event_store)  # type: ignore[assignment]


StreamableHTTPSessionManager.__init__ = _make_within_sessions  # type: ignore[method-assign]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems() -> None:
    """Their tests look these names up in their modules when they run."""
    import_module("tests.interaction.transports.test_hosting_resume").__dict__.update(SequencedEventStore=Counted)
    import_module("tests.shared.test_streamable_http").__dict__.update(SimpleEventStore=Noted)
