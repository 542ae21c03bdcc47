"""Open a driver with everything around it, and close it in reverse."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from .._errors import ConfigurationError
from ..driver import Driver
from ..wrappers import Coalescer
from ._manifest import check_manifest
from ._registry import driver_from_url
from ._urls import hide_password

__all__ = ["Place", "default_url", "open_place"]


class Place:
    """An open driver with what is around it, and whether closing it is our business."""

    def __init__(self, driver: Driver, coalescer: Coalescer | None, *, owned: bool) -> None:
        self.driver = driver
        self._coalescer = coalescer
        self._owned = owned

    async def close(self) -> None:
        """Close the driver, unless the application had opened it itself."""
        if self._owned:
            await self.driver.close()
        elif self._coalescer is not None:
            await self._coalescer.drain()


def default_url() -> str:
    """Where "nothing" is: `holdfast.db` in `HOLDFAST_HOME`, or else in the user's data folder."""
    from platformdirs import user_data_path  # here: nobody who names a place pays for it

    home = os.environ.get("HOLDFAST_HOME")
    folder = Path(home).expanduser().absolute() if home else user_data_path("holdfast", appauthor=False)
    return f"sqlite:///{quote((folder / 'holdfast.db').as_posix(), safe='/:')}"


async def open_place(target: str | Driver | None, *, coalesce: bool = True) -> Place:
    """Open a URL, a driver, or the default place: plug-ins wrap it, the manifest is checked, calls are coalesced.

    A driver that is open already is used and never closed; one that is not is opened here and closed with the place.
    """
    from ..plugins import plugins  # here: pluggy is wanted at the first opening and not at import

    if target is None:
        target = default_url()
    if isinstance(target, str):
        url: str | None = hide_password(target)
        driver = driver_from_url(target)
    elif isinstance(target, Driver):
        url, driver = None, target
    else:
        raise ConfigurationError(
            f"{target!r} is no driver: pass a URL like 'sqlite:///data/agent.db', a Driver, or nothing"
        )
    owned = not driver.is_open
    for wrap in plugins().hook.holdfast_wrap_driver(url=url):
        driver = wrap(driver)
    coalescer = Coalescer(driver) if coalesce and driver.capabilities.group else None
    driver = coalescer or driver
    await driver.open()
    try:
        await check_manifest(driver)
        plugins().hook.holdfast_driver_opened(driver=driver, url=url)
    except BaseException:
        if owned:
            await driver.close()
        raise
    return Place(driver, None if owned else coalescer, owned=owned)
