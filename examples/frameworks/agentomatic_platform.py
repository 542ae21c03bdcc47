"""An Agentomatic platform whose threads, logs and approvals survive it: `python examples/frameworks/agentomatic_platform.py [URL]`.

Its agent is a script in the place of a model: it answers, or stops and asks for an approval, which is given after a restart.
The platform is called without a network; with one, run `platform.build()` with uvicorn.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from agentomatic import AgentPlatform
from fastapi.testclient import TestClient
from limpet_adapters.agentomatic import LimpetStore

AGENT = """
from agentomatic.core.manifest import AgentManifest
from agentomatic.core.router_factory import AgentSuspendedException

manifest = AgentManifest(name="clerk", slug="clerk", description="Pays, if somebody approves")

async def node_fn(state):
    if state.get("metadata", {}).get("hitl_approved"):
        return {"response": f"Paid: {state['current_query']}", "agent_type": "clerk"}
    if "pay" in state["current_query"]:
        raise AgentSuspendedException(approval_id="pay-1", node_name="pay", state_snapshot=dict(state), message="Pay?")
    return {"response": f"You said: {state['current_query']}", "agent_type": "clerk"}
"""
AT = "/api/v1/clerk"


def served(folder: Path, url: str) -> TestClient:
    """A platform with the agents in a folder, as a new process would start it."""
    platform = AgentPlatform.from_folder(folder, store=LimpetStore(url), logs_history=True, log_level="ERROR")
    return TestClient(platform.build())


def main(url: str) -> None:
    with tempfile.TemporaryDirectory() as work:
        agents = Path(work) / "agents"
        (agents / "clerk").mkdir(parents=True)
        (agents / "__init__.py").write_text("")
        (agents / "clerk/__init__.py").write_text(AGENT)
        sys.path.insert(0, work)
        of: dict[str, Any] = {"user_id": "ada", "thread_id": "t1"}
        with served(agents, url) as client:
            client.post(f"{AT}/threads", json={**of, "title": "Trip"}).raise_for_status()
            print(client.post(f"{AT}/invoke", json={**of, "query": "a train to Trieste"}).json()["response"])
            print(client.post(f"{AT}/invoke", json={**of, "query": "pay 59 euros"}).status_code)
        with served(agents, url) as client:  # another process, as far as the data are concerned
            print([each["node_name"] for each in client.get(f"{AT}/threads/t1/pending").json()["pending"]])
            print(client.post(f"{AT}/threads/t1/approve", json={"approval_id": "pay-1"}).json()["response"])
            print(client.get(f"{AT}/threads/t1").json()["title"], client.get(f"{AT}/logs").json()["total"])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "sqlite:///agentomatic_platform.db")
