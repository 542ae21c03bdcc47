"""What other packages add to Limpet: finding what is installed and allowed, and loading it one by one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from ._errors import ConfigurationError, PluginError

if TYPE_CHECKING:  # importlib.metadata takes a while to import, and importing limpet needs no driver
    from importlib.metadata import Distribution, EntryPoint

__all__ = ["SWITCH", "allowed_packages", "declared", "is_allowed", "load", "normal_name", "package_of", "plugin_error"]

SWITCH = "LIMPET_PLUGINS"
"""The environment's switch: `none`, or the names of packages with commas between them."""

OWN = frozenset(
    ("limpet", "limpet-fs", "limpet-mongodb", "limpet-mysql", "limpet-postgresql", "limpet-redis", "limpet-sqlite")
)
"""The packages of this project: allowed whatever the switch says."""


def allowed_packages(given: Iterable[str] | None = None) -> frozenset[str] | None:
    """The packages whose plug-ins and drivers may be loaded, by normalised name; `None`: all of them.

    `given` is what a caller passed as `plugins=`; with `None` the environment decides. Raises `ConfigurationError`
    for a package that is not installed: a switch with a typing error must not leave a plug-in out in silence.
    """
    if given is None:
        written = os.environ.get(SWITCH, "").strip()
        if not written:
            return None
        source, names = SWITCH, [] if written == "none" else [each.strip() for each in written.split(",")]
    elif isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigurationError(f"plugins is {given!r}: pass a list of package names, [] for none, or None for all")
    else:
        source, names = "plugins", list(given)
    return frozenset(_installed(source, name) for name in names)


def is_allowed(entry: EntryPoint, allowed: frozenset[str] | None) -> bool:
    """Whether an entry point's package may be loaded."""
    return allowed is None or (name := normal_name(package_of(entry))) in allowed or name in OWN


def declared(group: str) -> tuple[list[EntryPoint], list[PluginError]]:
    """Every entry point of a group, in one order on every machine, and the packages whose list cannot be read."""
    from importlib.metadata import distributions, entry_points

    broken: list[PluginError] = []
    try:
        found = list(entry_points(group=group))
    except Exception:  # noqa: BLE001 one malformed file fails the call for all: look at each package by itself
        found = []
        seen: set[str] = set()
        for each in distributions():
            name = _name(each)
            if normal_name(name) in seen:  # shadowed by one that comes earlier on the path
                continue
            seen.add(normal_name(name))
            try:
                found += each.entry_points.select(group=group)
            except Exception as error:  # noqa: BLE001 whatever the parser raises for a file that is not one
                broken.append(
                    plugin_error(name, "entry_points.txt", "", "has a list of entry points that cannot be read", error)
                )
    return sorted(found, key=lambda entry: (entry.name, normal_name(package_of(entry)), entry.value)), broken


def load(entry: EntryPoint) -> object:
    """Import what an entry point names. Raises `PluginError`, whose cause is whatever the import raised."""
    try:
        return entry.load()
    except (Exception, SystemExit) as error:
        raise plugin_error(package_of(entry), entry.name, entry.value, "cannot be loaded", error) from error


def package_of(entry: EntryPoint) -> str:
    """The name of the package that an entry point belongs to."""
    return "" if entry.dist is None else _name(entry.dist)


def plugin_error(
    package: str, entry_point: str, value: str, wrong: str, cause: BaseException | None = None
) -> PluginError:
    """The error for a plug-in: which one, what is wrong with it, and what to do."""
    what = f"{entry_point} = {value}" if value else entry_point
    said = "" if cause is None else " ".join(str(cause).split())
    why = "" if cause is None else f": {type(cause).__name__}: {said}" if said else f": {type(cause).__name__}"
    remedy = f"repair or uninstall {package}" if package else "fix the object that the program registered"
    return PluginError(
        f"the plug-in {package or 'of this program'} ({what}) {wrong}{why}. To continue without it, {remedy}"
        + (f", or exclude it with {SWITCH}" if package and normal_name(package) not in OWN else ""),
        distribution=package,
        entry_point=entry_point,
    )


def _installed(source: str, name: object) -> str:
    from importlib.metadata import PackageNotFoundError, distribution

    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{source} names {name!r}: use package names as 'pip list' shows them")
    try:
        return normal_name(_name(distribution(name)))
    except (PackageNotFoundError, ValueError):
        near = get_close_matches(normal_name(name), _extending(), 1)
        hint = f"did you mean {near[0]!r}?" if near else "'limpet drivers' lists the installed ones"
        raise ConfigurationError(f"{source} names the package {name!r}, which is not installed: {hint}") from None


def _extending() -> Sequence[str]:
    return [
        normal_name(package_of(entry)) for group in ("limpet.drivers", "limpet.plugins") for entry in declared(group)[0]
    ]


def _name(package: Distribution) -> str:
    try:
        return package.metadata["Name"] or ""
    except Exception:  # noqa: BLE001 a damaged or missing METADATA
        return ""


def normal_name(name: str) -> str:
    """The name of a package as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
