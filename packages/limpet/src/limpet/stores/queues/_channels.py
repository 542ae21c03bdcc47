"""Creating the channel of an event queue, and removing it when it is empty."""

from __future__ import annotations

from ...driver import Delete, Driver, Put, Write
from ...structures import Log, Plan, ReadSet, collect_now, transact, visible
from ._event_documents import EventKeys

__all__ = ["create_channel", "remove_if_empty"]


async def create_channel(driver: Driver, keys: EventKeys, log: Log, channel: str) -> None:
    """Create a channel, and add its name to the list of channels, unless it exists."""
    listed = keys.listed(channel)

    def plan(reads: ReadSet) -> Plan[None]:
        return Plan([*log.plan_create(reads), *([] if reads[log.base] else [Put(listed, channel)])], None)

    await transact(driver, log.keys, plan)


async def remove_if_empty(driver: Driver, keys: EventKeys, log: Log, channel: str) -> None:
    """Remove a channel that has no events left. Its numbering is kept for a month, so that cursors remain valid."""

    def plan(reads: ReadSet) -> Plan[list[Write]]:
        head, counter = (reads[at] for at in log.keys)
        if head is None or counter is None or visible(head, counter) > 0:
            return Plan([], [])
        writes = [*log.plan_delete(reads), Delete(keys.listed(channel))]
        return Plan(writes, writes)

    await collect_now(driver, await transact(driver, log.keys, plan))
