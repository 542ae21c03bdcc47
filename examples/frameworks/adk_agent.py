"""An agent of Google's ADK that is restarted in the middle of a conversation: `python examples/frameworks/adk_agent.py [URL]`.

Its model is scripted, so that it runs without a key: it calls a tool, which saves a file and remembers something in the
state, and answers from what the session, the state and the memory hold.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator

from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.adk.runners import Runner
from google.adk.tools.tool_context import ToolContext
from google.genai import types
from limpet_adapters.adk import LimpetArtifactService, LimpetMemoryService, LimpetSessionService

APP, USER, SESSION = "travel", "ada", "trip"


class ScriptedModel(BaseLlm):
    """Books when it is asked to, and otherwise says how many messages it has been given."""

    model: str = "scripted"

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        last = (llm_request.contents[-1].parts or [types.Part()])[0]
        if last.function_response is not None:
            answer = types.Part(text=f"Done: {last.function_response.response}")
        elif "book" in (last.text or ""):
            answer = types.Part.from_function_call(name="book_train", args={"to": "Trieste"})
        else:
            answer = types.Part(text=f"I have read {len(llm_request.contents)} messages")
        yield LlmResponse(content=types.Content(role="model", parts=[answer]))


async def book_train(to: str, tool_context: ToolContext) -> dict[str, str]:
    """Book a train: the ticket is an artifact, and where the user goes is in the user's state."""
    ticket = types.Part.from_bytes(data=f"one way to {to}".encode(), mime_type="text/plain")
    version = await tool_context.save_artifact("ticket.txt", ticket)
    tool_context.state["user:goes_to"] = to
    return {"ticket": f"ticket.txt, version {version}"}


async def say(url: str, text: str) -> str:
    """Everything that one process does for one message: open, answer, close."""
    sessions, artifacts = LimpetSessionService(url), LimpetArtifactService(url)
    async with sessions, artifacts, LimpetMemoryService(url) as memory:
        agent = LlmAgent(name="helper", model=ScriptedModel(), tools=[book_train])
        async with Runner(
            app_name=APP, agent=agent, session_service=sessions, artifact_service=artifacts, memory_service=memory
        ) as runner:
            if await sessions.get_session(app_name=APP, user_id=USER, session_id=SESSION) is None:
                await sessions.create_session(app_name=APP, user_id=USER, session_id=SESSION)
            message = types.Content(role="user", parts=[types.Part(text=text)])
            answer = ""
            async for event in runner.run_async(user_id=USER, session_id=SESSION, new_message=message):
                if event.content and event.content.parts and event.content.parts[0].text:
                    answer = event.content.parts[0].text
        session = await sessions.get_session(app_name=APP, user_id=USER, session_id=SESSION)
        if session is not None:
            await memory.add_session_to_memory(session)
    return answer


async def main(url: str) -> None:
    print(await say(url, "Please book a train"))
    print(await say(url, "What did I say?"))  # by another process, as far as the data are concerned
    async with (
        LimpetSessionService(url) as sessions,
        LimpetArtifactService(url) as artifacts,
        LimpetMemoryService(url) as memory,
    ):
        print(await sessions.get_user_state(app_name=APP, user_id=USER))
        ticket = await artifacts.load_artifact(app_name=APP, user_id=USER, session_id=SESSION, filename="ticket.txt")
        if ticket is not None and ticket.inline_data is not None and ticket.inline_data.data is not None:
            print(ticket.inline_data.data.decode())
        found = await memory.search_memory(app_name=APP, user_id=USER, query="which train?")
        print([part.text for entry in found.memories for part in entry.content.parts or []])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite:///adk_agent.db"))
