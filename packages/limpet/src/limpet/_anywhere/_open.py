"""Opening without `await`: the first call opens the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from .._errors import ConfigurationError
from .._secrets import hidden_url
from ..opening import OpeningOptions, check_options

if TYPE_CHECKING:
    from ..driver import Driver
    from ..stores import Persistence, Storage

__all__ = ["open_persistence", "open_persistence_from_env", "open_storage"]


def open_persistence(driver: str | Driver | None = None, **options: Unpack[OpeningOptions]) -> Persistence:
    """Return the stores of an agent's data, opened by the first call and usable from any event loop or thread.

        persistence = open_persistence("postgresql://host/agents")      # at the top of a module, without await
        await persistence.sessions.add_message(...)                     # on whatever event loop this is

    It lives on an event loop of its own, in a thread that the first call starts, so a call costs two thread switches
    more than through `create_persistence`. `await persistence.aclose()` from any loop, or `async with`, closes it; what is
    forgotten is closed when the interpreter exits. After a fork, a child may use it if the parent had not yet.
    `limpet.sync.Persistence.of(persistence)` is the same for code without `await`.

    Takes the same as `create_persistence`. An unknown scheme or option raises at once: `ConfigurationError`,
    `DriverNotFoundError`, `PluginError`. The first call raises what opening raises, and the next one tries again.
    """
    check_options("open_persistence", options)

    from .._portal import Portal
    from ..opening import OnDemand
    from ..stores import Persistence
    from ._faces import face

    driver = hidden_url(driver)
    _refuse_open(driver)
    on_demand = OnDemand(driver, **options)
    inner = Persistence(on_demand)
    return face(inner, Portal(inner.aclose, on_demand.open), is_root=True)


def open_persistence_from_env(**options: Unpack[OpeningOptions]) -> Persistence:
    """Like `open_persistence`, for the database that the environment names; see `create_persistence_from_env`."""
    check_options("open_persistence_from_env", options)

    from .._portal import Portal
    from ..profiles import profile_from_env, profile_on_demand
    from ._faces import face

    inner, open = profile_on_demand(profile_from_env(), **options)
    return face(inner, Portal(inner.aclose, open), is_root=True)


def open_storage(driver: str | Driver | None = None, **options: Unpack[OpeningOptions]) -> Storage:
    """Return a storage of plain keys and values that the first call opens, for any loop or thread; see `open_persistence`."""
    check_options("open_storage", options)

    from .._portal import Portal
    from ..opening import OnDemand
    from ..stores import Storage
    from ._faces import face

    driver = hidden_url(driver)
    _refuse_open(driver)
    on_demand = OnDemand(driver, **options)
    inner = Storage(on_demand)
    return face(inner, Portal(inner.aclose, on_demand.open), is_root=True)


def _refuse_open(driver: str | Driver | None) -> None:
    from ..driver import Driver

    if isinstance(driver, Driver) and driver.is_open:
        raise ConfigurationError(
            f"this {type(driver).__name__} is open, and so belongs to one event loop: pass a driver that is not open yet, or a URL"
        )
