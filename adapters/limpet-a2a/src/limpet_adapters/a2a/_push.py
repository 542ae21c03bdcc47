"""Where an A2A server sends the news of a task."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from limpet import CorruptDataError, InvalidKeyError, Persistence, open_persistence
from limpet.driver import Delete, Key, Put, key, name, text
from limpet.structures import log_skipped, scan_all_each

from a2a.server.context import ServerCallContext
from a2a.server.owner_resolver import OwnerResolver, resolve_user_scope
from a2a.server.tasks import PushNotificationConfigStore
from a2a.server.tasks.push_notification_config_store import normalize_push_notification_config
from a2a.types.a2a_pb2 import TaskPushNotificationConfig

from ._messages import Owned, packed, unpacked

__all__ = ["LimpetPushNotificationConfigStore"]

_CONFIGS = name("a2a.push")


class LimpetPushNotificationConfigStore(PushNotificationConfigStore):
    """Push notification configurations on any database that Limpet supports.

    They contain tokens and credentials: open the database with `wrappers=[encrypted(key=...)]`, and `require_encryption=True`
    so that it cannot be opened without.
    """

    def __init__(self, persistence: Persistence, *, owner_resolver: OwnerResolver = resolve_user_scope) -> None:
        """`persistence` comes from `open_persistence`, or from `create_persistence` for one event loop; it is never closed here.

        `owner_resolver` says whose configuration it is from a call's context: the user's name unless it is given.
        """
        self.owner_resolver = owner_resolver
        self._persistence = persistence

    @classmethod
    @asynccontextmanager
    async def from_url(
        cls, url: str, *, owner_resolver: OwnerResolver = resolve_user_scope, **options: Any
    ) -> AsyncIterator[Self]:
        """A store on the database at `url`, closed at the end of the block. `options` are those of `open_persistence`."""
        async with open_persistence(url, **options) as persistence:
            yield cls(persistence, owner_resolver=owner_resolver)

    async def set_info(
        self, task_id: str, notification_config: TaskPushNotificationConfig, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """Store a configuration, new or not, and return it as it was stored. One driver call.

        It gets the task's id, and as its own id that one too if it has none. Raises `InvalidKeyError` for an id of more than
        8,192 characters, and `TooLargeError`.
        """
        owner = self.owner_resolver(context)
        stored = normalize_push_notification_config(task_id, notification_config)
        await self._persistence.driver.apply(
            [Put(key(_of(task_id, owner), text(stored.id)), packed(Owned(stored, owner, 1)))]
        )
        return stored

    async def get_info(self, task_id: str, context: ServerCallContext) -> list[TaskPushNotificationConfig]:
        """The caller's configurations of a task, the oldest first. What cannot be read is left out, with a warning in the log."""
        owner = self.owner_resolver(context)
        return [each.message for each in await self._found(task_id, owner) if each.owner == owner]

    async def get_info_for_dispatch(self, task_id: str) -> list[TaskPushNotificationConfig]:
        """The configurations of a task of all owners, the oldest first. What cannot be read is left out, with a warning in the log."""
        return [each.message for each in await self._found(task_id)]

    async def delete_info(self, task_id: str, context: ServerCallContext, config_id: str | None = None) -> None:
        """Remove one of the caller's configurations of a task, or all of them. Nothing happens if there is none."""
        try:
            base = _of(task_id, self.owner_resolver(context))
            at = base if config_id is None else key(base, text(config_id))
        except InvalidKeyError:  # ids that nothing can have
            return
        if config_id is None:
            await self._persistence.driver.clear(base)
        else:
            await self._persistence.driver.apply([Delete(at)])

    async def _found(self, task_id: str, *owner: str) -> list[Owned[TaskPushNotificationConfig]]:
        try:
            base = _of(task_id, *owner)
        except InvalidKeyError:
            return []
        found: list[tuple[int, Owned[TaskPushNotificationConfig]]] = []
        async for item in scan_all_each(self._persistence.driver, base):
            try:
                config = unpacked(item, TaskPushNotificationConfig)
            except CorruptDataError as error:
                log_skipped(error)
                continue
            if config.message.task_id == task_id:
                found.append((item.updated_at, config))
        return [config for _, config in sorted(found, key=lambda each: each[0])]


def _of(task_id: str, *owner: str) -> Key:
    return key(_CONFIGS, text(task_id), *map(text, owner))
