"""The functions that open a database. What they need is imported when they are called, so importing the library is cheap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .opening import Opening

if TYPE_CHECKING:
    from .driver import Driver
    from .stores import Persistence, Storage
    from .wrappers import Wrap

__all__ = ["create_persistence", "create_persistence_from_env", "create_storage"]


def create_persistence(
    driver: str | Driver | None = None,
    *,
    batching: bool = True,
    wrappers: Sequence[Wrap] = (),
    plugins: Sequence[str] | None = None,
) -> Opening[Persistence]:
    """Open the stores of an agent's data on a driver.

        async with create_persistence("sqlite:///data/agent.db") as persistence: ...
        persistence = await create_persistence(driver)          # then: await persistence.aclose()

    `driver` is a URL, a `Driver`, or nothing: SQLite in the user's data folder (`LIMPET_HOME` moves it). An open driver
    that you pass is used but never closed. `batching=False` sends every call separately.

    `wrappers` change data on its way to storage, in the order given: `[compressed(), encrypted(key=...)]`
    (see `limpet.wrappers`). `plugins` lists the packages whose plug-ins and drivers may be loaded; `[]` allows only
    Limpet's own; with `None`, the variable `LIMPET_PLUGINS` decides.

    Raises `ConfigurationError`, `DriverNotFoundError`, `PluginError`, `UnavailableError`, `FormatError`, `WrongStackError` or
    `WrongKeyError` when opened.
    """

    from ._secrets import SecretUrl  # no traceback with its variables shows the password

    target = SecretUrl(driver) if isinstance(driver, str) else driver

    async def open() -> Persistence:
        from .opening import open_driver
        from .stores import Persistence

        return Persistence(await open_driver(target, batching=batching, wrappers=wrappers, plugins=plugins))

    return Opening(open)


def create_persistence_from_env(
    *, batching: bool = True, wrappers: Sequence[Wrap] = (), plugins: Sequence[str] | None = None
) -> Opening[Persistence]:
    """Open what the environment names: `LIMPET_URL` and its key, Naylence's `FAME_STORAGE_PROFILE`, or the default.

    `profile_from_env` in `limpet.profiles` lists the variables. `wrappers` go around the encryption. Raises
    `ConfigurationError` at once for invalid variables, and on opening what `create_persistence` raises.
    """
    from .profiles import open_profile, profile_from_env

    profile = profile_from_env()

    async def open() -> Persistence:
        return await open_profile(profile, batching=batching, wrappers=wrappers, plugins=plugins)

    return Opening(open)


def create_storage(
    driver: str | Driver | None = None,
    *,
    batching: bool = True,
    wrappers: Sequence[Wrap] = (),
    plugins: Sequence[str] | None = None,
) -> Opening[Storage]:
    """Open plain keys and values on a driver; takes and raises the same as `create_persistence`."""

    from ._secrets import SecretUrl  # as above

    target = SecretUrl(driver) if isinstance(driver, str) else driver

    async def open() -> Storage:
        from .opening import open_driver
        from .stores import Storage

        return Storage(await open_driver(target, batching=batching, wrappers=wrappers, plugins=plugins))

    return Opening(open)
