"""Sessions, artifacts and memory of Google's Agent Development Kit on Limpet.

from limpet_adapters.adk import LimpetSessionService

runner = Runner(agent=agent, app_name="app", session_service=LimpetSessionService("redis://..."))
"""

from ._artifacts import LimpetArtifactService
from ._memory import LimpetMemoryService
from ._services import artifact_service, memory_service, register_services, session_service
from ._sessions import LimpetSessionService

__all__ = [
    "LimpetArtifactService",
    "LimpetMemoryService",
    "LimpetSessionService",
    "artifact_service",
    "memory_service",
    "register_services",
    "session_service",
]
