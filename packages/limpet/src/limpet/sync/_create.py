"""The functions that open a database, without `await`. Written by scripts/generate_sync.py: change the asynchronous API, and write it anew."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Unpack

import limpet
from limpet import events

from .._secrets import hidden_url
from ..driver import Driver as AsyncDriver
from ..opening import OpeningOptions
from ._events import EventQueue
from ._face import opened
from ._persistence import Persistence
from ._storage import Storage

__all__ = [
    "create_persistence",
    "create_persistence_from_env",
    "create_queue",
    "create_storage",
    "open_persistence",
    "open_persistence_from_env",
    "open_storage",
]


def create_persistence(driver: str | AsyncDriver | None = None, **options: Unpack[OpeningOptions]) -> Persistence:
    """Open the stores of an agent's data on a driver.

        with create_persistence("sqlite:///data/agent.db") as persistence: ...
        persistence = create_persistence(driver)          # then: persistence.close()

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
    driver = hidden_url(driver)
    return opened(partial(Persistence, is_root=True), limpet.create_persistence(driver, **options))


def create_persistence_from_env(**options: Unpack[OpeningOptions]) -> Persistence:
    """Open what the environment names: `LIMPET_URL` and its key, Naylence's `FAME_STORAGE_PROFILE`, or the default.

    `profile_from_env` in `limpet.profiles` lists the variables. `wrappers` go around the encryption. Raises
    `ConfigurationError` at once for invalid variables, and on opening what `create_persistence` raises.
    """
    return opened(partial(Persistence, is_root=True), limpet.create_persistence_from_env(**options))


def create_storage(driver: str | AsyncDriver | None = None, **options: Unpack[OpeningOptions]) -> Storage:
    """Open plain keys and values on a driver; takes and raises the same as `create_persistence`."""
    driver = hidden_url(driver)
    return opened(partial(Storage, is_root=True), limpet.create_storage(driver, **options))


def create_queue(
    driver: str | AsyncDriver | None = None,
    *,
    retention: timedelta | None = timedelta(hours=24),
    max_count: int | None = None,
    acknowledged: bool = False,
    consumer_ttl: timedelta = timedelta(days=7),
    prune_interval: timedelta | None = timedelta(minutes=5),
    poll: float = 0.5,
    namespace: str | None = None,
    **options: Unpack[OpeningOptions],
) -> EventQueue:
    """Open an event queue on a driver of its own.

        with create_queue("sqlite:///data/queue.db", retention=timedelta(hours=24)) as queue: ...

    The driver and `options` are as with `create_persistence`, the rest is as with `EventQueue`.
    """
    driver = hidden_url(driver)
    return opened(
        partial(EventQueue, is_root=True),
        events.create_queue(
            driver,
            retention=retention,
            max_count=max_count,
            acknowledged=acknowledged,
            consumer_ttl=consumer_ttl,
            prune_interval=prune_interval,
            poll=poll,
            namespace=namespace,
            **options,
        ),
    )


def open_persistence(driver: str | AsyncDriver | None = None, **options: Unpack[OpeningOptions]) -> Persistence:
    """Return the stores of an agent's data, opened by the first call.

        persistence = open_persistence("postgresql://host/agents")      # at the top of a module

    For servers that fork after a module was imported: a child may use it if the parent had not yet. It can be closed with
    `close()` or `with`; what is forgotten is closed when the interpreter exits. Takes the same as `create_persistence`. An
    unknown scheme or option raises at once: `ConfigurationError`, `DriverNotFoundError`, `PluginError`. The first call raises
    what opening raises, and the next one tries again.

    """
    driver = hidden_url(driver)
    return Persistence.of(limpet.open_persistence(driver, **options))


def open_persistence_from_env(**options: Unpack[OpeningOptions]) -> Persistence:
    """Like `open_persistence`, for the database that the environment names; see `create_persistence_from_env`."""
    return Persistence.of(limpet.open_persistence_from_env(**options))


def open_storage(driver: str | AsyncDriver | None = None, **options: Unpack[OpeningOptions]) -> Storage:
    """Return plain keys and values, opened by the first call: see `open_persistence`."""
    driver = hidden_url(driver)
    return Storage.of(limpet.open_storage(driver, **options))
