"""Find a server: the environment, Docker, a program; or report that there is none."""

from __future__ import annotations

import atexit
import os
from functools import cache

import pytest

from ._docker import Container, docker_runs
from ._kinds import KINDS
from ._server import Given, Server

__all__ = ["NotTestedError", "find", "running"]

REQUIRED = "LIMPET_REQUIRE_BACKENDS"


class NotTestedError(Exception):
    """There is no such server on this machine."""


def find(kind: str) -> Server:
    """Return a server of this kind; if it is started here, another one for each call. Raises `NotTestedError`."""
    name = f"LIMPET_TEST_{kind.upper().replace('-', '_')}"
    variable = f"{name}_URL"
    if url := os.environ.get(variable):
        return Given(url)
    if (known := KINDS.get(kind)) is None:
        raise ValueError(f"there is no kind of server {kind!r}: the options are {', '.join(sorted(KINDS))}")
    image = os.environ.get(f"{name}_IMAGE")
    if known.image is not None and (image is not None or docker_runs()):
        return Container(image or known.image.names[0], known.image)
    program = known.program()
    if program is None:
        raise NotTestedError(
            f"{kind} was not tested: set {variable}, run Docker (pip install 'limpet-conformance[servers]'), or "
            "install the server's program"
        )
    return program


def running(kind: str) -> Server:
    """Return the server of this kind that the tests of this process share.

    If there is none, it skips the test and says so in the report; with `LIMPET_REQUIRE_BACKENDS`, the test fails.
    """
    try:
        return _shared(kind)
    except NotTestedError as error:
        if os.environ.get(REQUIRED):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@cache
def _shared(kind: str) -> Server:
    server = find(kind)
    atexit.register(server.end)
    return server
