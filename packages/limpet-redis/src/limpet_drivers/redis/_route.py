"""Find the primary: the only server, the one that sentinels name, or the cluster node with the driver's slot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

from limpet import ConfigurationError, UnavailableError

from ._options import Address

__all__ = ["Ask", "Route", "Sentinels", "Single", "Slot"]

Ask: TypeAlias = Callable[..., Awaitable[Any]]
"""Sends a command to the server at an address and returns the answer. Raises Limpet's errors."""


class Route(ABC):
    """How to find the primary."""

    moves = True
    """Whether another server may replace it."""

    @abstractmethod
    async def find(self, ask: Ask) -> Address:
        """Return its current address. Raises `UnavailableError` if nobody knows it."""


class Single(Route):
    """One server, always the primary."""

    moves = False

    def __init__(self, address: Address) -> None:
        self._address = address

    async def find(self, ask: Ask) -> Address:
        return self._address


class Sentinels(Route):
    """The server that the sentinels name as the primary."""

    def __init__(self, sentinels: Iterable[Address], service: str) -> None:
        self._sentinels = list(sentinels)
        self.service = service

    @property
    def nearest(self) -> Address:
        """The sentinel that answered last."""
        return self._sentinels[0]

    async def find(self, ask: Ask) -> Address:
        failures = []
        for sentinel in tuple(self._sentinels):
            try:
                found = await ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
            except UnavailableError as error:
                failures.append(str(error))
                continue
            if found is not None:
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)  # a sentinel that answers is asked first the next time
                return found[0].decode(), int(found[1])
        if not failures:
            raise ConfigurationError(
                f"no sentinel knows the server {self.service!r}: see SENTINEL MASTERS for those that they know"
            )
        raise UnavailableError(f"no sentinel can say where {self.service!r} is ({'; '.join(failures)}): retry")


class Slot(Route):
    """The node of a cluster that serves our slot: all keys of a database are in the same one."""

    def __init__(self, nodes: Iterable[Address], slot: int) -> None:
        self._nodes = list(nodes)
        self._slot = slot

    async def find(self, ask: Ask) -> Address:
        failures = []
        for node in tuple(self._nodes):
            # Each node is asked in turn: a node that has lost touch with the others would lead us back for ever.
            self._nodes.append(self._nodes.pop(0))
            try:
                ranges = await ask(node, "CLUSTER", "SLOTS")
            except UnavailableError as error:
                if "cluster support disabled" in str(error):
                    raise ConfigurationError(
                        f"the server at {node[0]}:{node[1]} is not a cluster: write redis:// instead of redis+cluster://"
                    ) from error
                failures.append(str(error))
                continue
            primary = None
            for first, last, *servers in ranges:
                known = [(host.decode() if host else node[0], int(port)) for host, port, *_ in servers]
                self._nodes += [each for each in known if each not in self._nodes]
                if first <= self._slot <= last:
                    primary = known[0]
            if primary is not None:
                return primary
            failures.append(f"{node[0]}:{node[1]} knows no node for slot {self._slot}")
        raise UnavailableError(f"the cluster cannot be reached ({'; '.join(failures)}): retry")
