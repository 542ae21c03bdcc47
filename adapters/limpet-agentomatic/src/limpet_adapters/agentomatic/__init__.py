"""The store of an Agentomatic platform on Limpet.

from limpet_adapters.agentomatic import LimpetStore

platform = AgentPlatform.from_folder("agents/", store=LimpetStore("sqlite:///agents.db"))
"""

from ._store import LimpetStore

__all__ = ["LimpetStore"]
