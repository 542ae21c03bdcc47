"""From a URL to an open driver."""

from ._awaited import Opening
from ._manifest import FORMAT, MANIFEST, check_manifest, written_through
from ._on_demand import OnDemand
from ._open import Place, default_url, open_place
from ._registry import driver_class, driver_from_url, installed_drivers
from ._urls import Url, check_counts, check_seconds, hide_password, parse_url, read_options

__all__ = [
    "FORMAT",
    "MANIFEST",
    "OnDemand",
    "Opening",
    "Place",
    "Url",
    "check_counts",
    "check_manifest",
    "check_seconds",
    "default_url",
    "driver_class",
    "driver_from_url",
    "hide_password",
    "installed_drivers",
    "open_place",
    "parse_url",
    "read_options",
    "written_through",
]
