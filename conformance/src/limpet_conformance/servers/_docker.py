"""Servers in containers. Uses testcontainers' plain `DockerContainer`, because its other modules keep changing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from time import monotonic, sleep
from typing import Any

from ._server import START_SECONDS, Server, free_port

__all__ = ["Container", "Image", "docker_runs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """How to run a server in Docker."""

    names: tuple[str, ...]
    """All images that are tested. The first one is the default."""
    port: int
    """The port on which it listens inside."""
    url: str
    """Contains `{host}` and `{port}`."""
    ready: tuple[str, ...]
    """A command in the container that succeeds once the server is ready."""
    env: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None


@cache
def docker_runs() -> bool:
    """Return whether there is a Docker engine that responds, and testcontainers to use it."""
    if shutil.which("docker") is None:
        return False
    try:
        import testcontainers.core.container  # noqa: F401
    except ImportError:
        return False
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


class Container(Server):
    """A server in a container. Its port is bound to a free one of the host, which it keeps when it is restarted."""

    def __init__(self, image: str, how: Image) -> None:
        from testcontainers.core.container import DockerContainer
        from testcontainers.core.wait_strategies import ExecWaitStrategy

        self.origin = f"docker {image}"
        port = free_port()
        container = DockerContainer(image).with_bind_ports(how.port, port)
        for name, value in how.env.items():
            container = container.with_env(name, value)
        if how.command is not None:
            container = container.with_command(how.command)
        self._container: Any = container.waiting_for(ExecWaitStrategy(list(how.ready)))
        self._container.start()
        self._ready = list(how.ready)
        self.url = how.url.format(host=self._container.get_container_host_ip(), port=port)

    def kill(self) -> None:
        self._container.get_wrapped_container().kill()

    def start(self) -> None:
        self._container.get_wrapped_container().start()
        until = monotonic() + START_SECONDS
        while self._container.exec(self._ready).exit_code:
            if monotonic() > until:
                raise RuntimeError(f"{self.origin} did not start again within {START_SECONDS:g} s")
            sleep(0.1)

    def pause(self) -> None:
        self._container.get_wrapped_container().pause()

    def resume(self) -> None:
        self._container.get_wrapped_container().unpause()

    def end(self) -> None:
        self._container.stop()
