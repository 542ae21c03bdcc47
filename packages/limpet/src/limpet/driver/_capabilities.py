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

    Naming rule: a single word says whether the backend does something (a bool), or to what degree (a literal, weakest
    first); `max_<what>` is the largest value that is accepted, and anything above raises `TooLargeError`;
    `<what>_bytes` counts bytes of UTF-8. A driver's class attribute is the upper bound; after `open`, the instance's
    attribute is exact.
    """

    atomic: Literal["item", "batch"] = "batch"
    """What one batch can contain: one write, or any number of them, serializable."""
    durable: Literal["no", "process", "disk"] = "no"
    """What an acknowledged write survives: nothing, the end of the process, a power failure."""
    shared: bool = False
    """Other drivers on the same URL, in this process and in others, see the same items."""
    watch: bool = False
    """`watch` notifies of changes."""
    seek: bool = True
    """`scan` can start in the middle of the key order without examining what precedes it."""
    text_order: bool = True
    """`scan` lists user text in its own order; otherwise, the order is arbitrary but always the same."""
    append: bool = False
    """The backend assigns log numbers itself; otherwise they are compare-and-set by the client."""
    group: bool = True
    """Sending calls together saves something (a round trip, a sync); if not, nothing is grouped."""
    parallel: int = 1
    """How many groups of writes are worth sending at once: 1 if a second one would only wait for the first."""
    max_value_bytes: int = 4 * MIB
    max_batch_bytes: int = 8 * MIB
    """Total size of the keys and values in one batch."""
    max_writes: int = 512
    """Writes in one batch."""
    max_keys: int = 512
    """Keys in one `get`."""


_LEAST = Capabilities()


def shortfall(found: Capabilities) -> str | None:
    """Return why a driver that declares this cannot support the stores (a limit that is too low); `None` if it can."""
    for limit in ("max_value_bytes", "max_batch_bytes", "max_writes", "max_keys"):
        if found.atomic == "item" and limit == "max_writes":
            continue
        if getattr(found, limit) < getattr(_LEAST, limit):
            return (
                f"it declares {limit}={getattr(found, limit):,}, but every driver must take at least "
                f"{getattr(_LEAST, limit):,}: raise the backend's limit, or split values inside the driver"
            )
    return None
