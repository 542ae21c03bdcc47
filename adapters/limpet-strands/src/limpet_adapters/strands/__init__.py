"""Sessions of Strands Agents on Limpet.

from limpet_adapters.strands import LimpetSessionRepository

repository = LimpetSessionRepository(open_persistence("redis://..."))
agent = Agent(session_manager=RepositorySessionManager("conversation-1", repository))
"""

from ._repository import LimpetSessionRepository

__all__ = ["LimpetSessionRepository"]
