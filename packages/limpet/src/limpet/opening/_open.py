"""Opening a driver with all wrappers around it, and closing in reverse order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack
from urllib.parse import quote

from .._errors import ConfigurationError, WrongStackError
from .._run_to_end import run_to_end
from .._secrets import SecretUrl, hide_password
from ..driver import Driver
from ..structures import OutOfLine
from ..wrappers import Batching, Wrap, Wrapper
from ._manifest import check_manifest
from ._opening_options import OpeningOptions
from ._registry import driver_from_url
from ._requirements import check_encryption, check_tls

__all__ = ["assembled", "default_url", "open_driver"]


class _Borrowed(Wrapper):
    """Wraps a driver that the application opened, and will close."""

    async def close(self) -> None:
        pass


def default_url() -> str:
    """Return the default location: `limpet.db` in `LIMPET_HOME`, or in the user's data folder."""
    from platformdirs import user_data_path  # here, because naming a database does not need it

    home = os.environ.get("LIMPET_HOME")
    folder = Path(home).expanduser().absolute() if home else user_data_path("limpet", appauthor=False)
    return f"sqlite:///{quote((folder / 'limpet.db').as_posix(), safe='/:')}"


async def open_driver(target: str | Driver | None, **options: Unpack[OpeningOptions]) -> Driver:
    """Open a URL, a driver, or the default database, with plug-ins, batching and wrappers; check the manifest.

    The first of `wrappers` is the outermost. A driver that is already open is used and never closed; otherwise it is
    opened here and closed with the database. `plugins` names the packages whose plug-ins and drivers may be loaded,
    like `LIMPET_PLUGINS`; if a named one does not work, its `PluginError` is raised.
    """
    if isinstance(target, str):
        target = SecretUrl(target)
    from ..plugins import broken_plugins, call  # here: importing limpet does not need pluggy

    plugins = options.get("plugins")
    driver, url = assembled(target, **options)
    try:
        await driver.open()
        try:
            await check_manifest(driver)
        except WrongStackError as error:
            if broken := broken_plugins(plugins):
                raise WrongStackError(f"{error}. And {'; '.join(map(str, broken))}") from error
            raise
        for _ in call("limpet_driver_opened", plugins=plugins, may_fail=True, driver=driver, url=url):
            pass
    except BaseException:
        if driver.is_open:
            await run_to_end(driver.close())
        raise
    return driver


def assembled(
    target: str | Driver | None,
    *,
    batching: bool = True,
    wrappers: Sequence[Wrap] = (),
    plugins: Sequence[str] | None = None,
    max_value_bytes: int | None = None,
    require_encryption: bool | None = None,
    require_tls: bool | None = None,
) -> tuple[Driver, str | None]:
    """Return a driver with everything around it, not opened yet, and its URL for messages. No I/O except imports."""
    from ..plugins import call

    if target is None:
        target = default_url()
    if isinstance(target, str):
        target = SecretUrl(target)
        url: str | None = hide_password(target)
        driver = driver_from_url(target, plugins)
    elif isinstance(target, Driver):
        url, driver = None, target
    else:
        raise ConfigurationError(
            f"{target!r} is not a driver: pass a URL like 'sqlite:///data/agent.db', a Driver, or nothing"
        )
    if driver.is_open:
        driver = _Borrowed(driver)
    for wrap, wrong in call("limpet_wrap_driver", plugins=plugins, url=url):
        if wrap is not None:
            around = wrap(driver) if callable(wrap) else None
            if not isinstance(around, Driver):
                raise wrong("does not wrap a driver: limpet_wrap_driver() must return a function that does, or None")
            driver = around
    if batching and driver.capabilities.group:
        driver = Batching(driver)
    driver = _wrapped(driver, wrappers)
    check_encryption(driver, require_encryption)
    check_tls(driver, require_tls)
    return OutOfLine(driver, max_value_bytes), url


def _wrapped(driver: Driver, wrappers: Sequence[Wrap]) -> Driver:
    if callable(wrappers) or isinstance(wrappers, str):
        raise ConfigurationError(f"wrappers is {wrappers!r}: put it in a list, like wrappers=[compressed()]")
    for wrap in reversed(wrappers):
        around = wrap(driver) if callable(wrap) else None
        if not isinstance(around, Driver):
            raise ConfigurationError(
                f"{wrap!r} in wrappers= does not wrap a driver: use compressed(), encrypted(...) and so on"
            )
        driver = around
    return driver
