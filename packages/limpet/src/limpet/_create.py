"""The functions that open a database. What they need is imported when they are called, so importing the library is cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from .opening import Opening, OpeningOptions, check_options

if TYPE_CHECKING:
    from .driver import Driver
    from .stores import Persistence, Storage

__all__ = ["create_persistence", "create_persistence_from_env", "create_storage"]


def create_persistence(driver: str | Driver | None = None, **options: Unpack[OpeningOptions]) -> Opening[Persistence]:
    """Open the stores of an agent's data on a driver.

        async with create_persistence("sqlite:///data/agent.db") as persistence: ...
        persistence = await create_persistence(driver)          # then: await persistence.aclose()

    `driver` is a URL, a `Driver`, or nothing: SQLite in the user's data folder (`LIMPET_HOME` moves it). An open driver
    that you pass is used but never closed. The options are:

    - `batching`: `False` sends every call separately.
    - `wrappers` change data on its way to storage, in the order given: `[compressed(), encrypted(key=...)]`
      (see `limpet.wrappers`).
    - `plugins` lists the packages whose plug-ins and drivers may be loaded; `[]` allows only Limpet's own; with `None`,
      the variable `LIMPET_PLUGINS` decides.
    - `max_value_bytes` is the longest record that is accepted: 128 MiB, or less where that is more than your users need
      (at least 256 KiB). Beyond it, a write raises `TooLargeError`. Blobs have no limit.
    - `require_encryption`: `True` refuses a stack without `encrypted()`; with `None`, `LIMPET_REQUIRE_ENCRYPTION` decides.
    - `require_tls`: `True` refuses a connection that somebody on the network could read or change; with `None`,
      `LIMPET_REQUIRE_TLS` decides.

    Raises `ConfigurationError`, `DriverNotFoundError`, `PluginError`, `UnavailableError`, `FormatError`, `WrongStackError` or
    `WrongKeyError` when opened.
    """
    check_options("create_persistence", options)

    from ._secrets import hidden_url  # no traceback with its variables shows the password

    target = hidden_url(driver)

    async def open() -> Persistence:
        from .opening import open_driver
        from .stores import Persistence

        return Persistence(await open_driver(target, **options))

    return Opening(open)


def create_persistence_from_env(**options: Unpack[OpeningOptions]) -> Opening[Persistence]:
    """Open what the environment names: `LIMPET_URL` and its key, Naylence's `FAME_STORAGE_PROFILE`, or the default.

    `profile_from_env` in `limpet.profiles` lists the variables. `wrappers` go around the encryption. Raises
    `ConfigurationError` at once for invalid variables, and on opening what `create_persistence` raises.
    """
    from .profiles import open_profile, profile_from_env

    check_options("create_persistence_from_env", options)
    profile = profile_from_env()

    async def open() -> Persistence:
        return await open_profile(profile, **options)

    return Opening(open)


def create_storage(driver: str | Driver | None = None, **options: Unpack[OpeningOptions]) -> Opening[Storage]:
    """Open plain keys and values on a driver; takes and raises the same as `create_persistence`."""
    check_options("create_storage", options)

    from ._secrets import hidden_url  # as above

    target = hidden_url(driver)

    async def open() -> Storage:
        from .opening import open_driver
        from .stores import Storage

        return Storage(await open_driver(target, **options))

    return Opening(open)
