"""The suite on a URL, for who has no test module: what `limpet conformance URL` does."""

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
    """Run the suite on the place at `url`, which must be empty and is emptied again; 0 where everything passed.

    `capabilities` is what to hold the driver to, by default what it says of itself once it is open. `json_path`
    takes the report. `select` is pytest's `-k`. pytest runs in a process of its own and writes to this one's output.
    Raises `ConfigurationError` for a place that is not empty.
    """
    found = asyncio.run(_look(url))
    environment = {
        **os.environ,
        "LIMPET_CONFORMANCE_URL": url,  # not among the arguments, where other users of the machine see passwords
        "LIMPET_CONFORMANCE_CAPABILITIES": dumps(asdict(capabilities or found)),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    environment.pop("PYTEST_ADDOPTS", None)  # what somebody's own tests are run with is not for this one
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
