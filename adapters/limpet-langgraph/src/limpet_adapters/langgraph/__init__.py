"""LangGraph's checkpoints on Limpet.

from limpet_adapters.langgraph import LimpetSaver

async with LimpetSaver.from_url("postgresql://...") as saver:
    graph = builder.compile(checkpointer=saver)
"""

from ._saver import LimpetSaver

__all__ = ["LimpetSaver"]
