"""From a URL scheme to a driver class, through entry points that are loaded one by one when named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._errors import ConfigurationError, DriverNotFoundError
from ..driver import Driver
from ._urls import parse_url

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["DRIVERS", "driver_class", "driver_from_url", "installed_drivers"]

DRIVERS = "limpet.drivers"
"""The entry-point group: the name is the URL scheme, the value a `Driver` subclass."""

_EXTRAS = {
    "sqlite": "sqlite",
    "fs": "fs",
    "redis": "redis",
    "rediss": "redis",
    "redis+cluster": "redis",
    "rediss+cluster": "redis",
    "redis+sentinel": "redis",
    "rediss+sentinel": "redis",
    "mongodb": "mongodb",
    "mongodb+srv": "mongodb",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
}


def installed_drivers() -> dict[str, EntryPoint]:
    """Scheme to entry point of every installed driver, by name. Nothing is imported."""
    from importlib.metadata import entry_points  # here: it takes a while, and importing limpet needs no driver

    return {entry.name: entry for entry in sorted(entry_points(group=DRIVERS), key=lambda entry: entry.name)}


def driver_class(scheme: str) -> type[Driver]:
    """Import the driver for a scheme. Raises `DriverNotFoundError`, which names the extra to install."""
    entry = installed_drivers().get(scheme)
    if entry is None:
        raise DriverNotFoundError(_missing(scheme))
    try:
        found = entry.load()
    except ImportError as error:
        raise DriverNotFoundError(
            f"the driver for {scheme}:// cannot be imported ({error}). {_missing(scheme)}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Driver)):
        raise ConfigurationError(f"the entry point {entry.value!r} for {scheme}:// is no limpet.driver.Driver")
    return found


def driver_from_url(url: str) -> Driver:
    """The driver that a URL describes, not opened yet. No IO but the import."""
    return driver_class(parse_url(url).scheme).from_url(url)


def _missing(scheme: str) -> str:
    if scheme in _EXTRAS:
        extra = _EXTRAS[scheme]
        return (
            f"{scheme}:// needs the package limpet-{extra}, which is the extra limpet[{extra}]: "
            "install it from where limpet came from"
        )
    return f"no installed package serves {scheme}://; installed are {', '.join(installed_drivers()) or 'none'}"
