"""The seeds of random searches, so that a failure can be repeated."""

from __future__ import annotations

import os
from random import Random, SystemRandom

__all__ = ["seeded"]


def seeded() -> tuple[Random, int]:
    """Return a random generator and its seed: `LIMPET_CONFORMANCE_SEED`, or a new one for each call."""
    given = os.environ.get("LIMPET_CONFORMANCE_SEED")
    seed = int(given) if given else SystemRandom().randrange(2**32)
    return Random(seed), seed
