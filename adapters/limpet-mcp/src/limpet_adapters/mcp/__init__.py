"""Resumable streams of MCP servers on Limpet.

from limpet_adapters.mcp import LimpetEventStore, ResumableSessions

store = LimpetEventStore(open_persistence("redis://..."))
app = server.streamable_http_app(event_store=store)
app.add_middleware(ResumableSessions, event_store=store)
"""

from ._event_store import LimpetEventStore
from ._middleware import ResumableSessions

__all__ = ["LimpetEventStore", "ResumableSessions"]
