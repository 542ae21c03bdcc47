"""The suite on a URL, without a test module: this is what `limpet conformance URL` does."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import asdict
from json import dumps
from pathlib import Path

from limpet import ConfigurationError
from limpet.driver import Capabilities, Range
from limpet.driver.kit import hide_password
from limpet.opening import driver_from_url

__all__ = ["run"]


def run(
    url: str, capabilities: Capabilities | None = None, json_path: str | Path | None = None, *, select: str = ""
) -> int:
    """Run the suite on the database at `url`, which must be empty. Returns 0 if everything passed.

    The database is emptied again. `capabilities` are what the driver must fulfil; by default, what it declares once it
    is open. The report is written to `json_path`. `select` is pytest's `-k`. pytest runs in its own process, and writes
    to this one's output. Raises `ConfigurationError` for a database that is not empty.
    """
    found = asyncio.run(_look(url))
    environment = {
        **os.environ,
        "LIMPET_CONFORMANCE_URL": url,  # not an argument, because other users of the machine can see those
        "LIMPET_CONFORMANCE_CAPABILITIES": dumps(asdict(capabilities or found)),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    environment.pop("PYTEST_ADDOPTS", None)  # settings for other tests do not apply to this run
    module = Path(__file__).with_name("_on_url.py")
    command = [
        sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(module.parent), "-q", "--no-header", "--tb=short",
        "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:asyncio", "-o", "addopts=", str(module),
    ]  # fmt: skip
    if json_path is not None:
        command += ["--conformance-json", str(Path(json_path).absolute())]
    if select:
        command += ["-k", select]
    return subprocess.run(command, env=environment, check=False).returncode


async def _look(url: str) -> Capabilities:
    async with driver_from_url(url) as driver:
        page = await driver.scan(Range("", limit=1, values=False))
        if page.items or page.next is not None:
            raise ConfigurationError(
                f"{hide_password(url)} is not empty: the suite deletes everything in the database, so pass an empty one"
            )
        return driver.capabilities
