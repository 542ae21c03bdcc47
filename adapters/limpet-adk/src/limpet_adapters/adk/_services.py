"""The services by URI, for the `adk` command."""

from __future__ import annotations

from typing import Any

from google.adk.cli.service_registry import get_service_registry
from limpet import ConfigurationError
from limpet.opening import installed_drivers

from ._artifacts import LimpetArtifactService
from ._memory import LimpetMemoryService
from ._sessions import LimpetSessionService

__all__ = ["artifact_service", "memory_service", "register_services", "session_service"]

_SCHEME = "limpet"


def session_service(uri: str, **options: Any) -> LimpetSessionService:
    """The sessions at `limpet+postgresql://...` or any URL with `limpet+` before it; `limpet://`: what the environment names.

    What else ADK passes has no meaning here. Raises `ConfigurationError` for another URI.
    """
    return LimpetSessionService(_url(uri))


def artifact_service(uri: str, **options: Any) -> LimpetArtifactService:
    """The artifacts at a URI, as for `session_service`."""
    return LimpetArtifactService(_url(uri))


def memory_service(uri: str, **options: Any) -> LimpetMemoryService:
    """The memory at a URI, as for `session_service`."""
    return LimpetMemoryService(_url(uri))


def register_services() -> None:
    """Make ADK know `limpet://`, and `limpet+` before the scheme of each driver that is installed. Safe to repeat.

    Call it in `services.py` in the folder of your agents, or for `adk run` in that of the agent.
    """
    registry = get_service_registry()
    for scheme in [_SCHEME, *(f"{_SCHEME}+{driver}" for driver in installed_drivers())]:
        registry.register_session_service(scheme, session_service)
        registry.register_artifact_service(scheme, artifact_service)
        registry.register_memory_service(scheme, memory_service)


def _url(uri: str) -> str | None:
    scheme, _, rest = uri.partition("://")
    if scheme == _SCHEME and not rest:
        return None
    if not scheme.startswith(f"{_SCHEME}+"):
        raise ConfigurationError(
            f"{scheme}:// is not a URI of Limpet: put limpet+ before the URL of a database, such as limpet+sqlite:///agents.db, "
            "or use limpet:// for what LIMPET_URL names"
        )
    return uri.removeprefix(f"{_SCHEME}+")
