"""The same three calls among 100 and among 100,000: times within 2 of each other."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from limpet import Persistence, create_persistence
from limpet.records import UserMessage

from .._measure import Comparison, Contender, compare

__all__ = ["run"]

FEW, MANY = 100, 100_000


async def run(folder: Path) -> list[Comparison]:
    found = []
    for scheme in ("memory", "sqlite"):
        async with AsyncExitStack() as stack:
            places = {}
            for size in (MANY, FEW):
                url = "memory://" if scheme == "memory" else f"sqlite:///{folder.as_posix()}/flat-{size}.db"
                places[f"{size:,}"] = await stack.enter_async_context(_filled(url, size))
            for title, work in WORK.items():
                contenders = [Contender(name, _repeat(work, persistence)) for name, persistence in places.items()]
                found.append(
                    await compare(
                        f"{scheme}: {title}",
                        contenders,
                        times=200,
                        bars={f"{FEW:,}": 0.5},
                        unit="calls/s among so many",
                    )
                )
    return found


@asynccontextmanager
async def _filled(url: str, size: int) -> AsyncIterator[Persistence]:
    async with create_persistence(url) as persistence:
        await persistence.sessions.save_session({"sessionId": "s"})
        numbers = iter(range(size))
        while part := list(itertools.islice(numbers, 400)):
            log = persistence.sessions._messages.log("s")
            await log.append(*(f'{{"id":"{n}","subtype":"user","content":"Hello"}}' for n in part))
            await _save_images(persistence, part)
        yield persistence


async def _save_images(persistence: Persistence, numbers: list[int]) -> None:
    import asyncio

    await asyncio.gather(
        *(
            persistence.images.save_image({"imageId": f"i{n}", "containerId": "c", "sessionId": "s", "createdAt": n})
            for n in numbers
        )
    )


async def _add(persistence: Persistence) -> None:
    await persistence.sessions.add_message("s", UserMessage(content="Hello"))


async def _last(persistence: Persistence) -> None:
    await persistence.sessions.get_messages("s", last=50)


async def _page(persistence: Persistence) -> None:
    await persistence.images.find_images_by_container_id("c", limit=50)


WORK: dict[str, Callable[[Persistence], Awaitable[None]]] = {
    "add_message": _add,
    "get_messages(last=50)": _last,
    "find_images_by_container_id(limit=50)": _page,
}


def _repeat(
    work: Callable[[Persistence], Awaitable[None]], persistence: Persistence
) -> Callable[[int], Awaitable[None]]:
    async def repeated(times: int) -> None:
        for _ in range(times):
            await work(persistence)

    return repeated
