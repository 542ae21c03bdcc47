"""The services by URI, as the `adk` command makes them, and that command itself."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.adk.cli.service_registry import ServiceRegistry, get_service_registry, load_services_module
from limpet import ConfigurationError, create_persistence
from limpet_adapters.adk import (
    LimpetArtifactService,
    LimpetMemoryService,
    LimpetSessionService,
    artifact_service,
    memory_service,
    register_services,
    session_service,
)

ADK = [str(Path(sys.executable).with_name("adk"))]
BY_MODULE = [sys.executable, "-m", "limpet_adapters.adk"]
SERVICES_PY = "from limpet_adapters.adk import register_services\n\nregister_services()\n"
SERVICES_YAML = """services:
  - {scheme: limpet+sqlite, type: session, class: limpet_adapters.adk.session_service}
  - {scheme: limpet+sqlite, type: artifact, class: limpet_adapters.adk.artifact_service}
  - {scheme: limpet+sqlite, type: memory, class: limpet_adapters.adk.memory_service}
"""
AGENT = """
from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm, LlmResponse
from google.genai import types

class Echo(BaseLlm):
    model: str = "echo"
    async def generate_content_async(self, llm_request, stream=False):
        yield LlmResponse(content=types.Content(role="model", parts=[types.Part(text=f"{len(llm_request.contents)} so far")]))

async def remember(callback_context):
    artifact = types.Part.from_bytes(data=b"kept", mime_type="text/plain")
    await callback_context.save_artifact("note.txt", artifact)
    callback_context.state["user:seen"] = True

root_agent = LlmAgent(name="hello", model=Echo(), before_agent_callback=remember)
"""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> ServiceRegistry:
    """ADK's registry as a new process has it."""
    monkeypatch.setattr("google.adk.cli.service_registry._service_registry_instance", None)
    return get_service_registry()


def made(registry: ServiceRegistry, uri: str) -> list[Any]:
    """The three services, with what ADK passes besides."""
    return [
        registry.create_session_service(uri, agents_dir=".", pool_size=5),
        registry.create_artifact_service(uri, agents_dir=".", per_agent=True),
        registry.create_memory_service(uri, agents_dir="."),
    ]


def test_registered_schemes(registry: ServiceRegistry, tmp_path: Path) -> None:
    uri = f"limpet+sqlite:///{tmp_path.as_posix()}/a.db"
    assert made(registry, uri) == [None, None, None]
    register_services()
    register_services()
    services = made(registry, uri)
    assert [type(each) for each in services] == [LimpetSessionService, LimpetArtifactService, LimpetMemoryService]
    assert len({id(each.persistence) for each in services}) == 1
    for url in ("memory://", "fs:///x", "redis://x", "redis+cluster://x", "postgresql://x", "mysql://x/y"):
        assert registry.create_memory_service(f"limpet+{url}", agents_dir=".") is not None
    for each in services:
        asyncio.run(each.close())


def test_what_the_environment_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIMPET_URL", f"sqlite:///{tmp_path.as_posix()}/named.db")
    service = session_service("limpet://")
    asyncio.run(service.create_session(app_name="app", user_id="ada"))
    asyncio.run(service.close())
    assert (tmp_path / "named.db").exists()


@pytest.mark.parametrize("uri", ["sqlite:///a.db", "limpet://somewhere", "limpets+sqlite:///a.db", ""])
def test_other_uris_are_refused(uri: str) -> None:
    for factory in (session_service, artifact_service, memory_service):
        with pytest.raises(ConfigurationError, match=r"limpet\+"):
            factory(uri)


def test_services_yaml(registry: ServiceRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "services.yaml").write_text(SERVICES_YAML)
    load_services_module(str(tmp_path))
    services = made(registry, f"limpet+sqlite:///{tmp_path.as_posix()}/a.db")
    assert [type(each) for each in services] == [LimpetSessionService, LimpetArtifactService, LimpetMemoryService]
    for each in services:
        asyncio.run(each.close())


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def serving(command: list[str], agents: Path, uri: str) -> Iterator[httpx.Client]:
    """`adk api_server` in a process of its own."""
    port = _free_port()
    uris = [f"--{kind}_service_uri={uri}" for kind in ("session", "artifact", "memory")]
    environment = {**os.environ, "OTEL_SDK_DISABLED": "true"}
    server = subprocess.Popen(
        [*command, "api_server", f"--port={port}", "--host=127.0.0.1", *uris, str(agents)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            until = time.monotonic() + 120
            while True:
                try:
                    client.get("/list-apps").raise_for_status()
                    break
                except httpx.TransportError:
                    assert server.poll() is None, server.communicate()[0]
                    assert time.monotonic() < until, "the server did not start"
                    time.sleep(0.2)
            yield client
    finally:
        server.terminate()
        server.communicate(timeout=60)


@pytest.mark.parametrize(("command", "services"), [(ADK, "services.py"), (BY_MODULE, None)], ids=["adk", "python -m"])
async def test_a_served_agent_goes_on_after_a_restart(command: list[str], services: str | None, tmp_path: Path) -> None:
    agents = tmp_path / "agents"
    (agents / "hello").mkdir(parents=True)
    (agents / "hello/agent.py").write_text(AGENT)
    (agents / "hello/__init__.py").write_text("")
    if services is not None:
        (agents / services).write_text(SERVICES_PY)
    url = f"sqlite:///{tmp_path.as_posix()}/a.db"
    where = "/apps/hello/users/ada/sessions/s1"
    message = {"role": "user", "parts": [{"text": "hello"}]}
    run = {"app_name": "hello", "user_id": "ada", "session_id": "s1", "new_message": message}
    with serving(command, agents, f"limpet+{url}") as client:
        client.post(where, json={"a": 1}).raise_for_status()
        answered = client.post("/run", json=run).raise_for_status().json()
        assert answered[-1]["content"]["parts"][0]["text"] == "1 so far"
        client.patch("/apps/hello/users/ada/memory", json={"session_id": "s1"}).raise_for_status()
    with serving(command, agents, f"limpet+{url}") as client:
        answered = client.post("/run", json=run).raise_for_status().json()
        assert answered[-1]["content"]["parts"][0]["text"] == "3 so far"
        session = client.get(where).raise_for_status().json()
        assert session["state"] == {"a": 1, "user:seen": True}
        assert client.get(f"{where}/artifacts").json() == ["note.txt"]
        assert client.get(f"{where}/artifacts/note.txt/versions").json() == [0, 1]
    async with create_persistence(url) as persistence:
        memory = await LimpetMemoryService(persistence).search_memory(app_name="hello", user_id="ada", query="hello")
        assert len(memory.memories) == 1
