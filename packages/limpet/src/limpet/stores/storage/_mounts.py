"""Which driver serves which paths, and iterating over several drivers in order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

from ..._errors import ConfigurationError, NotFoundError
from ...driver import Driver, Item
from ...driver.kit import scan_all
from ...wrappers import ensure_owner
from ._paths import Path, join, key_of

__all__ = ["Mount", "Mounts"]


@dataclass(frozen=True, slots=True)
class Mount:
    """A driver, and the path below which it serves."""

    base: Path
    driver: Driver
    """Must be open."""

    def inner(self, path: Path) -> Path:
        """Return the path on the driver: without the base of the mount."""
        return path[len(self.base) :]


class Mounts:
    """A path is served by the longest mount at or above it, or else by the root."""

    def __init__(self, root: Driver) -> None:
        self._mounts: dict[Path, Mount] = {(): Mount((), root)}

    def add(self, base: Path, driver: Driver) -> None:
        """Mount an open driver. Raises `ConfigurationError` if something is already mounted there."""
        self.ensure_free(base)
        self._mounts[base] = Mount(base, driver)

    def ensure_free(self, base: Path) -> None:
        """Raise `ConfigurationError` unless something can be mounted at `base`."""
        if base in self._mounts:
            raise ConfigurationError(f"something is already mounted at {join(base)!r}: unmount it first")

    def remove(self, base: Path) -> Driver:
        """Unmount; the caller closes the driver. Raises `NotFoundError`."""
        if not base or base not in self._mounts:
            raise NotFoundError(f"nothing is mounted at {join(base)!r}")
        return self._mounts.pop(base).driver

    def below(self, base: Path) -> list[Mount]:
        """Return every mount that serves something below `base`: the one that serves `base`, then those within."""
        inside = [mount for at, mount in self._mounts.items() if len(at) > len(base) and at[: len(base)] == base]
        return [self.serving(base), *sorted(inside, key=lambda mount: mount.base)]

    def serving(self, path: Path) -> Mount:
        """Return the mount that serves a path."""
        if len(self._mounts) == 1:
            return self._mounts[()]
        return next(self._mounts[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self._mounts)

    async def walk(self, base: Path, *, values: bool) -> AsyncIterator[tuple[Mount, Item]]:
        """Yield every item below `base`, in key order across all mounts, in constant memory, except hidden items."""
        async with AsyncExitStack() as stack:
            heads: list[tuple[str, tuple[Mount, Item], AsyncGenerator[Item, None]]] = []

            async def advance(mount: Mount, items: AsyncGenerator[Item, None]) -> None:
                async for item in items:
                    heads.append((_position(mount, item), (mount, item), items))
                    return

            for mount in self.below(base):
                start = base if len(base) > len(mount.base) else mount.base
                items = scan_all(mount.driver, key_of(mount.inner(start)), values=values)
                stack.push_async_callback(items.aclose)
                await advance(mount, items)
            others = len(heads) > 1
            while heads:
                first = min(heads, key=lambda head: head[0])
                heads.remove(first)
                mount, item = first[1]
                if not (others and self._hidden(mount, item)):
                    yield mount, item
                await advance(mount, first[2])

    def _hidden(self, mount: Mount, item: Item) -> bool:
        position = _position(mount, item)
        return any(
            len(at) > len(mount.base) and (position == key_of(at) or position.startswith(f"{key_of(at)}!"))
            for at in self._mounts
        )

    def ensure_owner(self) -> None:
        """Raise `ForeignLoopError` if a driver is open on another event loop."""
        for mount in self._mounts.values():
            ensure_owner(mount.driver)

    async def close(self) -> None:
        """Close every driver, last mounted first, even if some fail."""
        async with AsyncExitStack() as stack:
            for mount in self._mounts.values():
                stack.push_async_callback(mount.driver.close)


def _position(mount: Mount, item: Item) -> str:
    """Return the position of an item in the whole storage."""
    if not mount.base:
        return item.key
    return key_of(mount.base) + item.key[len(key_of(())) :]
