"""The hooks that a plug-in can implement. A plug-in is a module or object in the entry-point group `limpet.plugins`.

    from limpet.plugins import hookimpl

    @hookimpl
    def limpet_driver_opened(driver, url):
        print("opened", url)

Hooks are called rarely; no data passes through them. A driver is not a plug-in: it has its own group.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from ._entry_points import allowed_packages, declared, is_allowed, load, normal_name, package_of, plugin_error
from ._errors import LimpetError, PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from .driver import Driver

__all__ = ["GROUP", "broken_plugins", "call", "hookimpl", "plugins"]

GROUP = "limpet.plugins"
"""The entry-point group. Loading it imports every plug-in, so it happens at the first opening, not when importing."""

hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker("limpet")
_hookspec = pluggy.HookspecMarker("limpet")


class Hooks(Protocol):
    """The specifications."""

    @_hookspec
    def limpet_wrap_driver(self, url: str | None) -> Callable[[Driver], Driver] | None:
        """Return a function that puts a driver around a driver, or `None`. Called before each opening.

        `url` shows no password, and is `None` if the application passed an object. Plug-ins registered last
        wrap innermost.
        """

    @_hookspec
    def limpet_driver_opened(self, driver: Driver, url: str | None) -> None:
        """A driver was opened, with everything around it; `url` is `None` where the application passed an object."""

    @_hookspec
    def limpet_commands(self, app: Any) -> None:
        """Add commands to the `typer.Typer` application behind `limpet`."""

    @_hookspec
    def limpet_conformance_targets(self) -> Iterable[Any]:
        """Return `limpet_conformance.Target`s: databases that `limpet conformance` can run the suite on by name."""


def plugins() -> pluggy.PluginManager:
    """The plug-in manager, with every plug-in loaded that is installed, works, and is allowed by `LIMPET_PLUGINS`."""
    _load(allowed_packages())
    return _manager()


def call(
    hook: str, *, plugins: Iterable[str] | None = None, may_fail: bool = False, **arguments: Any
) -> Iterator[tuple[Any, Callable[[str], PluginError]]]:
    """Call a hook of each plug-in in turn; yield what each gave, and a maker of errors that name it.

    `plugins` names the packages that are allowed, as with `create_persistence`; what the program registered itself is
    always called. A plug-in that cannot be loaded is left out with a warning, once, unless its package is named: then
    its `PluginError` is raised. So is that of a hook that fails, unless it `may_fail`: then it is treated in the same
    way.
    """
    allowed = allowed_packages(plugins)
    for error in broken_plugins(plugins):
        _complain(error, allowed)
    manager = _manager()
    for implementation in reversed(getattr(manager.hook, hook).get_hookimpls()):
        entry = _entries.get(implementation.plugin_name)
        if entry is not None and not is_allowed(entry, allowed):
            continue
        package, value = ("", "") if entry is None else (package_of(entry), entry.value)
        entry_point = implementation.plugin_name if entry is None else entry.name

        def wrong(what: str, package: str = package, point: str = entry_point, value: str = value) -> PluginError:
            return plugin_error(package, point, value, what)

        try:
            given = implementation.function(*[arguments[name] for name in implementation.argnames])
        except LimpetError:
            raise
        except Exception as cause:
            error = plugin_error(package, entry_point, value, f"failed in {hook}()", cause)
            error.__cause__ = cause
            if not may_fail:
                raise error from cause
            _complain(error, allowed)
        else:
            yield given, wrong


def broken_plugins(plugins: Iterable[str] | None = None) -> list[PluginError]:
    """Return an error for each installed and allowed plug-in that cannot be used."""
    allowed = allowed_packages(plugins)
    _load(allowed)
    return [error for entry, error in _broken if entry is None or is_allowed(entry, allowed)]


@cache
def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager("limpet")
    manager.add_hookspecs(Hooks)
    return manager


_entries: dict[str, EntryPoint] = {}
_broken: list[tuple[EntryPoint | None, PluginError]] = []
_told: set[str] = set()


@cache
def _found() -> list[EntryPoint]:
    entries, unreadable = declared(GROUP)
    _broken.extend((None, error) for error in unreadable)
    return entries


@cache
def _load(allowed: frozenset[str] | None) -> None:
    """Import and register each allowed plug-in that was not yet; what is not allowed is never imported."""
    for entry in _found():
        name = f"{package_of(entry)}:{entry.name}"
        if name in _entries or not is_allowed(entry, allowed):
            continue
        _entries[name] = entry
        try:
            _register(name, entry, load(entry))
        except PluginError as error:
            _broken.append((entry, error))


def _register(name: str, entry: EntryPoint, plugin: object) -> None:
    manager = _manager()
    package = package_of(entry)
    try:
        manager.register(plugin, name=name)
        callers = manager.get_hookcallers(plugin) or []
    except Exception as error:  # pluggy refuses, or an attribute of the object raises
        if manager.has_plugin(name):
            manager.unregister(name=name)
        raise plugin_error(package, entry.name, entry.value, "registers something invalid", error) from error
    wrong = [caller.name for caller in callers if not caller.has_spec()]
    around = [
        caller.name
        for caller in callers
        for each in caller.get_hookimpls()
        if each.plugin is plugin and (each.wrapper or each.hookwrapper)
    ]
    what = (
        f"has hooks that do not exist: {', '.join(wrong)}"
        if wrong
        else f"wraps the hook {around[0]}, which cannot be wrapped"
        if around
        else "has none of Limpet's hooks: mark them with @hookimpl"
        if not callers
        else None
    )
    if what is not None:
        manager.unregister(name=name)
        raise plugin_error(package, entry.name, entry.value, what)


def _complain(error: PluginError, allowed: frozenset[str] | None) -> None:
    if allowed is not None and normal_name(error.distribution) in allowed:
        raise error
    if str(error) not in _told:
        _told.add(str(error))
        warnings.warn(str(error), RuntimeWarning, stacklevel=4)
