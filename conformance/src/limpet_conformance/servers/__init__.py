"""Real servers for tests: a given one, one in Docker, or one started from a program on this machine.

    from limpet_conformance.servers import running

    server = running("postgresql")          # started once in this process, ended with it
    server.url                              # 'postgresql://postgres@127.0.0.1:41873/postgres'

In this order: the URL in `LIMPET_TEST_<KIND>_URL`; a container, if Docker is running; the program, on a free loopback
port in a temporary folder. If there is none, `running` skips the test and says that the backend was not tested; with
`LIMPET_REQUIRE_BACKENDS=1`, the test fails.

A `Proxy` in front of a server can lose requests, answers and connections, and slow them down.
"""

from ._find import NotTestedError, find, running
from ._proxy import Proxy
from ._server import Server, free_port

__all__ = ["NotTestedError", "Proxy", "Server", "find", "free_port", "running"]
