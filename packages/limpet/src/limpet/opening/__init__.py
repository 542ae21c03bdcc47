"""From a URL to an open driver."""

from ._awaited import Opening
from ._manifest import FORMAT, MANIFEST, check_manifest, written_through
from ._on_demand import OnDemand
from ._open import default_url, open_driver
from ._registry import DRIVERS, claimed_schemes, driver_class, driver_from_url, installed_drivers

__all__ = [
    "DRIVERS",
    "FORMAT",
    "MANIFEST",
    "OnDemand",
    "Opening",
    "check_manifest",
    "claimed_schemes",
    "default_url",
    "driver_class",
    "driver_from_url",
    "installed_drivers",
    "open_driver",
    "written_through",
]
