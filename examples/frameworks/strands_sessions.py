"""A Strands agent that remembers in its next process.

    python examples/frameworks/strands_sessions.py sqlite:///strands.db

The model is a script: it says how much the user has said.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

from limpet_adapters.strands import LimpetSessionRepository
from strands import Agent
from strands.models import Model
from strands.session.repository_session_manager import RepositorySessionManager
from strands.types.content import Messages
from strands.types.streaming import StreamEvent


class Counting(Model):
    """Stands for a model that costs something."""

    def get_config(self) -> Any:
        return {}

    def update_config(self, **model_config: Any) -> None:
        pass

    def structured_output(self, *args: Any, **options: Any) -> AsyncGenerator[dict[str, Any], None]:
        raise NotImplementedError

    async def stream(self, messages: Messages, *args: Any, **options: Any) -> AsyncIterable[StreamEvent]:
        said = sum(message["role"] == "user" for message in messages)
        yield {"messageStart": {"role": "assistant"}}
        yield {"contentBlockStart": {"start": {}}}
        yield {"contentBlockDelta": {"delta": {"text": f"You have said {said} things."}}}
        yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "end_turn"}}


def main(url: str) -> None:
    for text in ("I am Ada.", "Who am I?"):
        with LimpetSessionRepository.from_url(url) as repository:  # another process, in real life
            manager = RepositorySessionManager("conversation-1", repository)
            agent = Agent(model=Counting(), session_manager=manager, agent_id="helper", callback_handler=None)
            print(str(agent(text)).strip())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "sqlite:///strands.db")
