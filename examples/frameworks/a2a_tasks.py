"""An A2A server whose tasks survive it: one process asks a question, and another one gets the answer.

    python examples/frameworks/a2a_tasks.py sqlite:///a2a.db

The agent is a script in the place of a model. Server and client talk without a network; with one, hand `app(...)` to uvicorn.
"""

from __future__ import annotations

import asyncio
import sys
from uuid import uuid4

import httpx
from a2a.client import ClientConfig, ClientFactory
from a2a.helpers import new_task_from_user_message, new_text_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_jsonrpc_routes
from a2a.server.tasks import TaskUpdater
from a2a.types.a2a_pb2 import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageRequest,
    Task,
    TaskState,
)
from limpet import Persistence, open_persistence
from limpet_adapters.a2a import LimpetPushNotificationConfigStore, LimpetTaskStore
from starlette.applications import Starlette

URL = "http://agent.test/"

CARD = AgentCard(
    name="Clerk",
    description="Books a table, and asks for how many",
    version="1",
    default_input_modes=["text/plain"],
    default_output_modes=["text/plain"],
    capabilities=AgentCapabilities(streaming=True),
    skills=[AgentSkill(id="book", name="Book", description="Books a table", tags=["restaurant"])],
    supported_interfaces=[AgentInterface(url=URL, protocol_binding="JSONRPC", protocol_version="1.0")],
)


class Clerk(AgentExecutor):
    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        if context.current_task is None:
            assert context.message is not None
            task = new_task_from_user_message(context.message)
            await event_queue.enqueue_event(task)
            updater = TaskUpdater(event_queue, task.id, task.context_id)
            await updater.requires_input(new_text_message("A table for how many?"))
        else:
            updater = TaskUpdater(event_queue, context.current_task.id, context.current_task.context_id)
            await updater.add_artifact([Part(text=f"A table for {context.get_user_input()} is booked.")])
            await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.current_task is not None
        await TaskUpdater(event_queue, context.current_task.id, context.current_task.context_id).cancel()


def app(persistence: Persistence) -> tuple[Starlette, DefaultRequestHandler]:
    """The server on a database."""
    handler = DefaultRequestHandler(
        agent_executor=Clerk(),
        agent_card=CARD,
        task_store=LimpetTaskStore(persistence),
        push_config_store=LimpetPushNotificationConfigStore(persistence),
    )
    return Starlette(routes=create_jsonrpc_routes(handler, "/")), handler


async def say(url: str, text: str, task: Task | None = None) -> Task:
    """Start a server on the database at `url`, send it a message, and stop it; return the task as the client sees it."""
    async with open_persistence(url) as persistence:
        served, handler = app(persistence)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(served)) as http:
            client = ClientFactory(ClientConfig(httpx_client=http, streaming=False)).create(CARD)
            message = Message(message_id=str(uuid4()), role=Role.ROLE_USER, parts=[Part(text=text)])
            if task is not None:
                message.task_id, message.context_id = task.id, task.context_id
            (answer,) = [each async for each in client.send_message(SendMessageRequest(message=message))]
            listed = await client.list_tasks(
                ListTasksRequest(context_id=answer.task.context_id, include_artifacts=True)
            )
            await handler.aclose()
    assert listed.total_size == 1
    assert listed.tasks[0].id == answer.task.id
    return listed.tasks[0]


async def main(url: str) -> None:
    task = await say(url, "I need a table.")
    print(TaskState.Name(task.status.state), task.status.message.parts[0].text)
    task = await say(url, "four", task)
    print(TaskState.Name(task.status.state), task.artifacts[0].parts[0].text, f"({len(task.history)} messages)")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite:///a2a.db"))
