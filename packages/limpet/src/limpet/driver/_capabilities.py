"""What a driver can do, in words that the conformance suite verifies both ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Capabilities", "shortfall"]

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a driver promises. Declared, then verified: what is declared must pass, what is not must be refused.

    Naming rule: a bare word is something that the backend does (a bool) or how far it goes (a literal, weakest
    first); `max_<what>` is a limit that is accepted, one more is a `TooLargeError`; `<what>_bytes` counts bytes
    of UTF-8. The class attribute of a driver is the upper bound; after `open` the instance's is exact.
    """

    atomic: Literal["item", "batch"] = "batch"
    """What one batch may hold: one write, or any number of them, serialisable."""
    durable: Literal["no", "process", "disk"] = "no"
    """What an acknowledged write survives: nothing, the end of the process, the loss of power."""
    shared: bool = False
    """Other drivers on the same URL, in this process and in others, see the same items."""
    watch: bool = False
    """`watch` notifies of changes."""
    seek: bool = True
    """`scan` enters the key order in the middle without examining what comes before."""
    text_order: bool = True
    """`scan` lists text of users in its own order; otherwise in one that is the same every time and means nothing."""
    append: bool = False
    """The backend assigns log numbers itself; otherwise they are compare-and-set by the client."""
    group: bool = True
    """Calls that travel together save something (a round trip, a sync); otherwise nothing is grouped."""
    parallel: int = 1
    """Groups of writes worth having under way at once: 1 where a second one would only wait for the first."""
    max_value_bytes: int = 4 * MIB
    max_batch_bytes: int = 8 * MIB
    """Keys and values of one batch together."""
    max_writes: int = 512
    """Writes in one batch."""
    max_keys: int = 512
    """Keys in one `get`."""


_LEAST = Capabilities()


def shortfall(found: Capabilities) -> str | None:
    """Why a driver that declares this cannot carry the stores: a limit below the least one; `None` where it can."""
    for limit in ("max_value_bytes", "max_batch_bytes", "max_writes", "max_keys"):
        if found.atomic == "item" and limit == "max_writes":
            continue
        if getattr(found, limit) < getattr(_LEAST, limit):
            return (
                f"it declares {limit}={getattr(found, limit):,}, but every driver must take at least "
                f"{getattr(_LEAST, limit):,}: raise the backend's limit, or split values inside the driver"
            )
    return None
