"""Empty databases for the tests of others: used by the plug-ins that put ours in the place of theirs."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from limpet.wrappers import encrypted

__all__ = ["place", "wrappers"]


def place(name: str | None = None) -> str:
    """The URL of a database, always the same one for a name, an empty one without."""
    at = "t" + (uuid4().hex if name is None else sha256(name.encode()).hexdigest()[:24])
    database = os.environ["LIMPET_PROOF_DATABASE"].removeprefix("encrypted+")
    folder = Path(os.environ["LIMPET_PROOF_FOLDER"])
    if database == "memory":
        return "memory://"
    if database == "sqlite":
        return f"sqlite:///{(folder / at).as_posix()}.db"
    if database == "fs":
        return f"fs://{(folder / at).as_posix()}"
    url = os.environ["LIMPET_PROOF_SERVER"]
    return f"{url}{'&' if '?' in url else '?'}{os.environ['LIMPET_PROOF_OPTION']}={at}"


def wrappers() -> list[Any]:
    """What stands around the driver."""
    return [encrypted(key="07" * 32)] if os.environ["LIMPET_PROOF_DATABASE"].startswith("encrypted+") else []
