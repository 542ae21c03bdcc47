"""A LangGraph agent on one database: its conversations, what it remembers across them, and what it need not compute again.

    python examples/frameworks/langgraph_agent.py sqlite:///agent.db

The model is a script. A first process talks with Ada; a second one continues that conversation, and remembers her in a
new one.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from limpet import Persistence, open_persistence
from limpet_adapters.langgraph import LimpetSaver, LimpetStore


class ScriptedModel:
    """Stands in for a chat model: it says what it knows, and which messages it has seen."""

    async def ainvoke(self, messages: list[BaseMessage], facts: list[str]) -> AIMessage:
        turns = sum(message.type == "human" for message in messages)
        known = f"I know: {'; '.join(facts)}." if facts else "I know nothing yet."
        return AIMessage(f"{known} This is turn {turns}.")


async def remember(state: MessagesState, runtime: Runtime[None]) -> dict[str, Any]:
    """Keep what the user says of themselves, for all conversations."""
    assert runtime.store is not None
    said = str(state["messages"][-1].content)
    if (found := re.search(r"\bI like (\w+)", said)) is not None:
        await runtime.store.aput(("facts", "ada"), found[1], {"text": f"Ada likes {found[1]}"})
    return {}


async def answer(state: MessagesState, runtime: Runtime[None]) -> dict[str, Any]:
    assert runtime.store is not None
    facts = [item.value["text"] for item in await runtime.store.asearch(("facts", "ada"))]
    return {"messages": [await ScriptedModel().ainvoke(state["messages"], sorted(facts))]}


def agent(persistence: Persistence) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("remember", remember)
    builder.add_node("answer", answer)
    builder.add_edge(START, "remember")
    builder.add_edge("remember", "answer")
    builder.add_edge("answer", END)
    return builder.compile(checkpointer=LimpetSaver(persistence), store=LimpetStore(persistence))


async def say(graph: Any, thread: str, text: str) -> None:
    state = await graph.ainvoke({"messages": [("user", text)]}, {"configurable": {"thread_id": thread}})
    print(f"{text} -> {state['messages'][-1].content}")


async def main(url: str) -> None:
    first, second = str(uuid4()), str(uuid4())
    async with open_persistence(url) as persistence:
        await say(agent(persistence), first, "Hello, I like tea")
    async with open_persistence(url) as persistence:  # as after a restart
        graph = agent(persistence)
        await say(graph, first, "And I like cake")
        await say(graph, second, "What do I drink?")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
