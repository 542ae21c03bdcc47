"""Faults to inject: a dropped call, a lost answer, a call that is applied later; slow answers; a client's wrong clock.

They work on one open driver, at the seam between `BaseDriver` and the backend (`_commit`, `_fetch`, `_list`), so they
test everything that `BaseDriver` or its subclass does about them:

    async with driver:
        with swallowed(driver) as fault:
            await driver.apply([Put(key, "value")])      # happened; its answer was lost; proved by reading back
        assert fault.fired == 1
"""

from ._counted import Counts, counted
from ._lost import Late, dropped, late, never_arrived, swallowed
from ._seam import Fault, can_inject
from ._skewed import skewed
from ._slowed import slowed

__all__ = [
    "Counts",
    "Fault",
    "Late",
    "can_inject",
    "counted",
    "dropped",
    "late",
    "never_arrived",
    "skewed",
    "slowed",
    "swallowed",
]
