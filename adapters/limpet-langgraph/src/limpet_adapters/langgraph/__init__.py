"""LangGraph on Limpet: checkpoints, long-term memory and the cache of nodes.

from limpet_adapters.langgraph import LimpetSaver, LimpetStore

async with LimpetSaver.from_url("postgresql://...") as saver:
    graph = builder.compile(checkpointer=saver, store=LimpetStore(saver.persistence))
"""

from ._cache import LimpetCache
from ._saver import LimpetSaver
from ._store import LimpetStore

__all__ = ["LimpetCache", "LimpetSaver", "LimpetStore"]
