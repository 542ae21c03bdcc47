"""Sessions of the OpenAI Agents SDK on Limpet.

from limpet_adapters.openai_agents import LimpetSession

await Runner.run(agent, "hi", session=LimpetSession("conversation-1", url="redis://..."))
"""

from ._session import LimpetSession

__all__ = ["LimpetSession"]
