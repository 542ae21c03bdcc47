"""What cannot be tried without Docker is at least looked at: images, ports, commands, URLs; and the order of the search."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest
import yaml
from limpet.driver.kit import parse_url
from limpet_conformance.servers import NotTestedError, _docker, _find, find, free_port, running
from limpet_conformance.servers._docker import Image
from limpet_conformance.servers._kinds import KINDS
from limpet_conformance.servers._server import Group, Program

IMAGES = {kind: known.image for kind, known in KINDS.items() if known.image is not None}


@pytest.mark.parametrize(("kind", "image"), IMAGES.items(), ids=IMAGES)
def test_each_image_is_pinned_and_its_url_is_one(kind: str, image: Image) -> None:
    assert image.names
    for name in image.names:
        assert re.fullmatch(r"[a-z0-9/.-]+:\d+(\.\d+)*", name), f"{name} is not pinned to a version"
    url = parse_url(image.url.format(host="127.0.0.1", port=40000))
    assert (url.scheme, url.host, url.port) == (kind.partition("-")[0], "127.0.0.1", 40000)
    assert 0 < image.port < 65536
    assert image.ready, "a command that says when it answers"


@pytest.mark.parametrize("kind", KINDS)
def test_the_environment_comes_first(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"LIMPET_TEST_{kind.upper().replace('-', '_')}_URL", f"{kind}://somewhere:1")
    server = find(kind)
    assert (server.url, server.origin, server.ours) == (f"{kind}://somewhere:1", "environment", False)
    with pytest.raises(RuntimeError, match="not ours"):
        server.kill()


def test_a_kind_that_is_unknown_is_named() -> None:
    with pytest.raises(ValueError, match=r"'redsi': the options are .*redis"):
        find("redsi")


@pytest.mark.parametrize("kind", IMAGES)
def test_docker_comes_before_a_program(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    name = f"LIMPET_TEST_{kind.upper().replace('-', '_')}"
    monkeypatch.delenv(f"{name}_URL", raising=False)
    monkeypatch.delenv(f"{name}_IMAGE", raising=False)
    monkeypatch.setattr(_find, "docker_runs", lambda: True)
    monkeypatch.setattr(_find, "Container", lambda image, how: asked.append(image))
    find(kind)
    monkeypatch.setenv(f"{name}_IMAGE", "another:1")
    find(kind)
    assert asked == [IMAGES[kind].names[0], "another:1"]


@pytest.mark.parametrize("required", [False, True])
def test_a_backend_that_is_missing_is_named_and_is_a_failure_where_it_is_required(
    required: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(kind: str) -> None:
        raise NotTestedError(f"{kind} was not tested")

    monkeypatch.setattr(_find, "_shared", nothing)
    if required:
        monkeypatch.setenv("LIMPET_REQUIRE_BACKENDS", "1")
    else:
        monkeypatch.delenv("LIMPET_REQUIRE_BACKENDS", raising=False)
    with pytest.raises(pytest.fail.Exception if required else pytest.skip.Exception, match="redis was not tested"):
        running("redis")


@pytest.mark.skipif(_docker.docker_runs(), reason="Docker runs here: the servers are containers")
@pytest.mark.parametrize("kind", KINDS)
def test_a_program_is_ours_on_loopback_and_leaves_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(f"LIMPET_TEST_{kind.upper().replace('-', '_')}_URL", raising=False)
    server = KINDS[kind].program()
    if server is None:
        pytest.skip(f"{kind} is not installed")
    assert isinstance(server, Program | Group)
    programs = [server] if isinstance(server, Program) else server.members
    try:
        port = parse_url(server.url).port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        server.kill()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        server.start()
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        assert all(os.path.isdir(program._folder) for program in programs)
    finally:
        server.end()
    assert not any(os.path.exists(program._folder) for program in programs)


def test_ports_that_are_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))


def test_the_workflow_runs_every_image() -> None:
    workflow = Path(__file__).parents[2] / ".github/workflows/ci.yml"
    matrix = yaml.safe_load(workflow.read_text("utf-8"))["jobs"]["servers"]["strategy"]["matrix"]["include"]
    pinned = {(kind, name) for kind, known in KINDS.items() if known.image for name in known.image.names}
    assert {(row["kind"], row["image"]) for row in matrix} == pinned
