"""Find the driver class for a URL scheme. Entry points are loaded one by one, when they are needed."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .._entry_points import SWITCH, allowed_packages, declared, is_allowed, load, normal_name, package_of, plugin_error
from .._errors import DriverNotFoundError, LimpetError, PluginError
from .._secrets import SecretUrl, hide_password, without_frames
from ..driver import Driver
from ..driver.kit import parse_url

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["DRIVERS", "claimed_schemes", "class_at", "driver_class", "driver_from_url", "installed_drivers"]

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

_SQLALCHEMY = re.compile(
    r"^(sqlite|postgresql|mysql|mariadb)\+"
    r"(?:aiosqlite|pysqlite|pysqlcipher|asyncpg|psycopg|psycopg_async|psycopg2|pg8000|aiomysql|asyncmy|pymysql|mysqldb)://",
    re.IGNORECASE,
)
"""The client libraries in SQLAlchemy's URLs.

Any other scheme with a plus is a scheme of its own, like `redis+cluster`.
"""


def installed_drivers(plugins: Iterable[str] | None = None) -> dict[str, EntryPoint]:
    """Return the entry points of all drivers that are installed and allowed, by scheme. Imports nothing.

    If several packages claim a scheme, this returns the first one by name, and `driver_class` refuses.
    """
    return {scheme: entries[0] for scheme, entries in claimed_schemes(plugins).items()}


def claimed_schemes(plugins: Iterable[str] | None = None) -> dict[str, list[EntryPoint]]:
    """Return by scheme the entry points of the packages that claim it and that `plugins` (or `LIMPET_PLUGINS`) allows.

    A package that is named there takes precedence over one that is always allowed.
    """
    allowed = allowed_packages(plugins)
    claims: dict[str, list[EntryPoint]] = {}
    for entry in declared(DRIVERS)[0]:
        if is_allowed(entry, allowed):
            claims.setdefault(entry.name.lower(), []).append(entry)
    for scheme, entries in claims.items():
        named = [entry for entry in entries if normal_name(package_of(entry)) in (allowed or ())]
        claims[scheme] = named or entries
    return claims


def driver_class(scheme: str, plugins: Iterable[str] | None = None) -> type[Driver]:
    """Import the driver for a scheme.

    Raises `DriverNotFoundError`, which names the extra to install, or `PluginError` if several packages claim the
    scheme, or the one that does cannot be used.
    """
    entries = claimed_schemes(plugins).get(scheme, [])
    if not entries:
        raise DriverNotFoundError(_missing(scheme, plugins))
    if len(entries) > 1:
        packages = " and ".join(package_of(entry) or entry.value for entry in entries)
        raise PluginError(
            f"{packages} both serve {scheme}://: uninstall one of them, or list only the one to use in {SWITCH}",
            distribution=packages,
            entry_point=scheme,
        )
    return class_at(entries[0])


def class_at(entry: EntryPoint) -> type[Driver]:
    """Import the driver that an entry point names. Raises `PluginError`."""
    found = load(entry)
    if not (isinstance(found, type) and issubclass(found, Driver)):
        raise plugin_error(package_of(entry), entry.name, entry.value, "is not a subclass of limpet.driver.Driver")
    if inspect.isabstract(found):
        lacking = ", ".join(sorted(found.__abstractmethods__))
        raise plugin_error(package_of(entry), entry.name, entry.value, f"is a driver without {lacking}")
    return found


def driver_from_url(url: str, plugins: Iterable[str] | None = None) -> Driver:
    """Return the driver for a URL, not opened yet. No I/O except the import.

    The client library in SQLAlchemy's URLs (`postgresql+asyncpg://`) is ignored: a driver chooses its own.
    """
    url = SecretUrl(_SQLALCHEMY.sub(r"\1://", url, count=1))
    scheme = parse_url(url).scheme
    found = driver_class(scheme, plugins)
    try:
        made = found.from_url(url)
    except LimpetError:
        raise
    except Exception as error:
        without_frames(error)
        raise _wrong(
            scheme, plugins, hide_password(f"failed in from_url(): {type(error).__name__}: {error}")
        ) from error
    if not isinstance(made, Driver):
        raise _wrong(scheme, plugins, f"returned {type(made).__name__} from from_url(), which is not a Driver")
    return made


def _wrong(scheme: str, plugins: Iterable[str] | None, what: str) -> PluginError:
    (entry,) = claimed_schemes(plugins)[scheme]
    return plugin_error(package_of(entry), entry.name, entry.value, what)


def _missing(scheme: str, plugins: Iterable[str] | None) -> str:
    if scheme in _EXTRAS:
        extra = _EXTRAS[scheme]
        return (
            f"{scheme}:// needs the package limpet-{extra}, which is the extra limpet[{extra}]: "
            "install it from the same source as limpet"
        )
    kept_out = [package_of(entry) for entry in declared(DRIVERS)[0] if entry.name.lower() == scheme]
    if kept_out:
        return f"{scheme}:// is served by {' and '.join(kept_out)}, which {SWITCH} or plugins= excludes: add it there"
    installed = ", ".join(installed_drivers(plugins)) or "none"
    return f"no installed package serves {scheme}://; installed are {installed}"
