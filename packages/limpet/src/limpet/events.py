"""Events and work that survive: a queue of channels, a queue of jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import Unpack

from ._secrets import hidden_url
from .driver import Driver
from .opening import Opening, OpeningOptions, check_options, open_driver
from .stores import DeadLetter, Event, EventQueue, Job, Recovered, WorkQueue

__all__ = [
    "DeadLetter",
    "Event",
    "EventQueue",
    "Job",
    "Recovered",
    "WorkQueue",
    "createQueue",
    "create_queue",
]


def create_queue(
    driver: str | Driver | None = None,
    *,
    retention: timedelta | None = timedelta(hours=24),
    max_count: int | None = None,
    acknowledged: bool = False,
    consumer_ttl: timedelta = timedelta(days=7),
    prune_interval: timedelta | None = timedelta(minutes=5),
    poll: float = 0.5,
    namespace: str | None = None,
    **options: Unpack[OpeningOptions],
) -> Opening[EventQueue]:
    """Open an event queue on a driver of its own.

        async with create_queue("sqlite:///data/queue.db", retention=timedelta(hours=24)) as queue: ...

    The driver and `options` are as with `create_persistence`, the rest is as with `EventQueue`.
    """
    check_options("create_queue", options)

    target = hidden_url(driver)

    async def open() -> EventQueue:
        opened = await open_driver(target, **options)
        queue = EventQueue(
            opened,
            retention=retention,
            max_count=max_count,
            acknowledged=acknowledged,
            consumer_ttl=consumer_ttl,
            prune_interval=prune_interval,
            poll=poll,
            namespace=namespace,
            close=opened.close,
        )
        await queue.start()
        return queue

    return Opening(open)


createQueue = create_queue
