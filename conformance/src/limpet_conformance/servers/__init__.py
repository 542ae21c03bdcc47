"""Real servers for tests: one that somebody names, one in Docker, or one started from a program on this machine.

    from limpet_conformance.servers import running

    server = running("postgresql")          # started once in this process, ended with it
    server.url                              # 'postgresql://postgres@127.0.0.1:41873/postgres'

In this order: the URL in `LIMPET_TEST_<KIND>_URL`; a container, where Docker runs; the program, on a free loopback
port in a temporary folder. Where there is none of them, `running` skips the test and says that the backend was not
tested; with `LIMPET_REQUIRE_BACKENDS=1` it fails it.

A `Proxy` before a server loses requests, answers and connections, and slows them down.
"""

from ._find import NotTestedError, find, running
from ._proxy import Proxy
from ._server import Server, free_port

__all__ = ["NotTestedError", "Proxy", "Server", "find", "free_port", "running"]
