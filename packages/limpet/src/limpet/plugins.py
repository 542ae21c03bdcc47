"""The hooks: what a plug-in may do. A plug-in is a module or object under the entry-point group `limpet.plugins`.

    from limpet.plugins import hookimpl

    @hookimpl
    def limpet_driver_opened(driver, url):
        print("opened", url)

Hooks are for what happens seldom; no data passes through them. A driver is no plug-in: it has its own group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    from .driver import Driver

__all__ = ["GROUP", "hookimpl", "plugins"]

GROUP = "limpet.plugins"
"""The entry-point group; loading it imports every plug-in, so it happens at the first opening and not at import."""

hookimpl = pluggy.HookimplMarker("limpet")
_hookspec = pluggy.HookspecMarker("limpet")


class Hooks(Protocol):
    """The specifications."""

    @_hookspec
    def limpet_wrap_driver(self, url: str | None) -> Callable[[Driver], Driver] | None:
        """Give a function that puts a driver around a driver, or `None`; asked before each opening.

        `url` shows no password and is `None` where the application passed an object. Plug-ins registered last
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
        """Give `limpet_conformance.Target`s: places that `limpet conformance` can run the suite on by name."""


@cache
def plugins() -> pluggy.PluginManager:
    """The plug-in manager, with every installed plug-in loaded and its hooks checked against the specifications."""
    manager = pluggy.PluginManager("limpet")
    manager.add_hookspecs(Hooks)
    manager.load_setuptools_entrypoints(GROUP)
    manager.check_pending()
    return manager
