"""Where random searches begin, so that a failure can be begun again."""

from __future__ import annotations

import os
from random import Random, SystemRandom

__all__ = ["seeded"]


def seeded() -> tuple[Random, int]:
    """A source of random choices, and its seed: `LIMPET_CONFORMANCE_SEED`, else a new one at each call."""
    given = os.environ.get("LIMPET_CONFORMANCE_SEED")
    seed = int(given) if given else SystemRandom().randrange(2**32)
    return Random(seed), seed
