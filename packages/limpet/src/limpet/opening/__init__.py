"""From a URL to an open driver."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._lazy import lazy

if TYPE_CHECKING:
    from ._as_written import open_as_written
    from ._awaited import Opening
    from ._manifest import FORMAT, MANIFEST, check_manifest, written_through
    from ._on_demand import OnDemand
    from ._open import default_url, open_driver
    from ._opening_options import OpeningOptions, check_options
    from ._registry import DRIVERS, claimed_schemes, driver_class, driver_from_url, installed_drivers
    from ._requirements import check_tls

__getattr__: Callable[[str], Any] = lazy(
    __name__,
    {
        "DRIVERS": "._registry",
        "FORMAT": "._manifest",
        "MANIFEST": "._manifest",
        "OnDemand": "._on_demand",
        "Opening": "._awaited",
        "OpeningOptions": "._opening_options",
        "check_manifest": "._manifest",
        "check_options": "._opening_options",
        "check_tls": "._requirements",
        "claimed_schemes": "._registry",
        "default_url": "._open",
        "driver_class": "._registry",
        "driver_from_url": "._registry",
        "installed_drivers": "._registry",
        "open_as_written": "._as_written",
        "open_driver": "._open",
        "written_through": "._manifest",
    },
)

__all__ = [
    "DRIVERS",
    "FORMAT",
    "MANIFEST",
    "OnDemand",
    "Opening",
    "OpeningOptions",
    "check_manifest",
    "check_options",
    "check_tls",
    "claimed_schemes",
    "default_url",
    "driver_class",
    "driver_from_url",
    "installed_drivers",
    "open_as_written",
    "open_driver",
    "written_through",
]
