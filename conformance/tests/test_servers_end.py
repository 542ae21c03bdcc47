"""A server that tests started ends with them, however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest
from limpet_conformance.servers import running

STARTS = """
import sys
from limpet_conformance.servers import find
server = find("redis")
print(server._process.pid, server._folder, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL], ids=lambda ending: ending.name)
def test_it_ends_with_the_process_that_started_it(ending: signal.Signals) -> None:
    if not running("redis").origin.startswith("program"):
        pytest.skip("Redis is not started from a program here")
    with subprocess.Popen(
        [sys.executable, "-c", STARTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stdout is not None
        number, folder = tests.stdout.readline().split()
        assert _runs(int(number))
        tests.send_signal(ending)
        tests.wait()
    until = monotonic() + 20
    while (_runs(int(number)) or Path(folder).exists()) and monotonic() < until:
        sleep(0.05)
    assert not _runs(int(number))
    assert not Path(folder).exists()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{process}/status").read_text()
