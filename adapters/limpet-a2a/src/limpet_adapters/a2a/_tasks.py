"""The tasks of an A2A server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Self

from limpet import InvalidKeyError, Persistence, open_persistence

from a2a.server.context import ServerCallContext
from a2a.server.owner_resolver import OwnerResolver, resolve_user_scope
from a2a.server.tasks import TaskStore
from a2a.types.a2a_pb2 import ListTasksRequest, ListTasksResponse, Task

from ._records import TaskRecords

__all__ = ["LimpetTaskStore"]


class LimpetTaskStore(TaskStore):
    """Tasks on any database that Limpet supports: `DefaultRequestHandler(executor, LimpetTaskStore(persistence), card)`.

    Each owner has tasks of their own: the same id of two owners names two tasks. A task comes back as it was saved. A save
    replaces the whole task, with everything that it is listed by, in one step.
    """

    def __init__(
        self,
        persistence: Persistence,
        *,
        owner_resolver: OwnerResolver = resolve_user_scope,
        ttl: float | timedelta | None = None,
    ) -> None:
        """`persistence` comes from `open_persistence`, or from `create_persistence` for one event loop; it is never closed here.

        `owner_resolver` says whose task it is from a call's context: the user's name unless it is given. `ttl` is how many
        seconds after its last save a task is forgotten.
        """
        self.owner_resolver = owner_resolver
        self._records = TaskRecords(persistence, ttl)

    @classmethod
    @asynccontextmanager
    async def from_url(
        cls,
        url: str,
        *,
        owner_resolver: OwnerResolver = resolve_user_scope,
        ttl: float | timedelta | None = None,
        **options: Any,
    ) -> AsyncIterator[Self]:
        """A store on the database at `url`, closed at the end of the block. `options` are those of `open_persistence`."""
        async with open_persistence(url, **options) as persistence:
            yield cls(persistence, owner_resolver=owner_resolver, ttl=ttl)

    async def save(self, task: Task, context: ServerCallContext) -> None:
        """Store a task, new or not. One driver call if it is new, otherwise two.

        Raises `InvalidKeyError` for an id of more than 8,192 characters, and `TooLargeError`.
        """
        await self._records.save(self.owner_resolver(context), task)

    async def get(self, task_id: str, context: ServerCallContext) -> Task | None:
        """The task, or `None` if its owner has none by this id."""
        try:
            found = await self._records.get(self.owner_resolver(context), task_id)
        except InvalidKeyError:  # an id that no task can have
            return None
        return None if found is None else found.message

    async def list(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """A page of the owner's tasks: the latest status first, tasks without a time last, and by id within an instant.

        A page token holds a position, so it stays valid when its task changes or is deleted. A task that cannot be read is
        left out, with a warning in the log. Raises `InvalidParamsError` for a token that is none.
        """
        return await self._records.page(self.owner_resolver(context), params)

    async def delete(self, task_id: str, context: ServerCallContext) -> None:
        """Remove a task; nothing happens if there is none."""
        try:
            await self._records.delete(self.owner_resolver(context), task_id)
        except InvalidKeyError:
            return
