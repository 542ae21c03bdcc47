"""Agentomatic's `BaseStore`, all of it."""

from __future__ import annotations

import asyncio
from typing import Any

from limpet import ALL, ConfigurationError, LimpetError, NotFoundError, Persistence, SharedPersistence

from ._logs import Logs
from ._shapes import approval_of, checkpoint_of, feedback_of, message_of, thread_of
from ._state import packed

__all__ = ["LimpetStore"]


class LimpetStore(Logs):
    """The store of a platform: `AgentPlatform.from_folder("agents/", store=LimpetStore("sqlite:///agents.db"))`.

    Usable from any event loop. What a method returns is a copy: changing it changes nothing that is stored. A filter that
    is empty is none, and lists are newest first, except messages.
    """

    def __init__(self, database: str | Persistence | None) -> None:
        """`database` is a URL, or a `Persistence`, which is never closed here; `None`: what the environment names.

        With a URL, everything of this process that names it shares one open database. Raises `ConfigurationError`,
        `DriverNotFoundError` or `PluginError` for a URL that nothing can open.
        """
        if not (database is None or isinstance(database, (str, Persistence))):
            raise ConfigurationError(f"a {type(database).__name__} is no database: pass a URL, or a Persistence")
        self._database = database
        self._share: SharedPersistence | None = None
        self.persistence  # noqa: B018 - a URL that nothing can open is refused now

    @property
    def persistence(self) -> Persistence:
        """The stores behind this one, which can do more. Opened again if it is used after `close`."""
        if isinstance(self._database, Persistence):
            return self._database
        if self._share is None:
            self._share = SharedPersistence(self._database)
        return self._share.persistence

    # The database.

    async def initialize(self) -> None:
        """Open the database and check that it responds. Raises what opening raises, and `UnavailableError`."""
        await self.persistence.health()

    async def close(self) -> None:
        """Close the database, unless it is your own `Persistence`, or in use by others."""
        share, self._share = self._share, None
        if share is not None:
            await share.aclose()

    async def health_check(self) -> dict[str, Any]:
        """Return whether the database responds: `{"status": "healthy", ...}`, or `"unhealthy"` and why."""
        try:
            found = await self.persistence.health()
        except LimpetError as error:
            return {"status": "unhealthy", "backend": "LimpetStore", "error": str(error)}
        return {"status": "healthy", "backend": "LimpetStore", "server": found.server}

    async def get_stats(self) -> dict[str, Any]:
        """Return exactly how many threads, messages and feedback there are."""
        found = await self.persistence.threads.stats(messages=True)
        return {
            "backend": "LimpetStore",
            "threads": found.threads,
            "messages": found.messages,
            "feedback": found.feedback,
        }

    # Threads.

    async def create_thread(
        self,
        thread_id: str,
        user_id: str,
        agent_name: str,
        *,
        title: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Create a thread. Raises `ConflictError`, and changes nothing, if the id is taken."""
        made = await self.persistence.threads.create(
            id=thread_id, user_id=user_id, agent_name=agent_name, title=title, metadata=metadata
        )
        return thread_of(made)

    async def get_thread(self, thread_id: str) -> dict[str, Any] | None:
        """Return the thread, or `None`."""
        found = await self.persistence.threads.get(thread_id)
        return None if found is None else thread_of(found)

    async def list_threads(
        self, *, agent_name: str | None = None, user_id: str | None = None, limit: int = 50, offset: int = 0
    ) -> list[dict[str, Any]]:
        """List threads by creation, newest first."""
        if limit < 1:
            return []
        found = self.persistence.threads.list(
            user_id=user_id or ALL, agent_name=agent_name or ALL, limit=limit, offset=offset
        )
        return [thread_of(record) for record in await found]

    async def update_thread(self, thread_id: str, **updates: Any) -> dict[str, Any] | None:
        """Change the title or replace the metadata; `None` if there is no such thread. Raises `TypeError` for other fields."""
        wanted = {"metadata" if field == "metadata_json" else field: value for field, value in updates.items()}
        if unknown := sorted(wanted.keys() - {"title", "metadata"}):
            raise TypeError(f"{', '.join(unknown)} of a thread cannot be changed: only title and metadata can")
        if "metadata" in wanted:
            wanted["metadata"] = wanted["metadata"] or {}
        try:
            return thread_of(await self.persistence.threads.update(thread_id, **wanted))
        except NotFoundError:
            return None

    async def delete_thread(self, thread_id: str) -> bool:
        """Delete a thread with its messages, feedback, suspended states and checkpoints; return whether there was one."""
        return await self.persistence.threads.delete(thread_id)

    async def fork_thread(
        self, parent_thread_id: str, message_index: int, new_thread_id: str, *, title: str | None = None
    ) -> dict[str, Any] | None:
        """Fork a thread at a message, by its index, without copying anything; behind the end, at the last one.

        Returns `None` if there is no such thread, or for a negative index. Raises `ConflictError` if the new id is taken.
        """
        if message_index < 0:
            return None
        threads = self.persistence.threads
        at = await threads.get_messages(parent_thread_id, limit=1, offset=message_index)
        try:
            made = await threads.fork(
                parent_thread_id, at=at[0].seq if at else None, id=new_thread_id, title=title or None
            )
        except NotFoundError:
            return None
        return thread_of(made)

    async def get_thread_lineage(self, thread_id: str) -> dict[str, Any]:
        """Return what a thread was forked from, oldest first, and what was forked from it directly."""
        threads = self.persistence.threads
        try:
            found = await threads.lineage(thread_id)
        except NotFoundError:
            return {"thread_id": thread_id, "ancestors": [], "descendants": []}
        children = [id for id in found.descendants if found.records[id].parent_thread_id == thread_id]
        parents = [id for id in found.ancestors if id in found.records]
        counted = await asyncio.gather(*(threads.get(id) for id in [*parents, *children]))
        shown = [None if record is None else thread_of(record) for record in counted]
        return {
            "thread_id": thread_id,
            "ancestors": [each for each in shown[: len(parents)] if each is not None],
            "descendants": [each for each in shown[len(parents) :] if each is not None],
        }

    # Messages.

    async def add_message(
        self, thread_id: str, role: str, content: str, *, metadata: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Add a message. Raises `NotFoundError` if there is no such thread."""
        added = await self.persistence.threads.add_message(thread_id, role, content, metadata=metadata)
        return message_of(thread_id, added)

    async def get_messages(self, thread_id: str, *, limit: int = 100, offset: int = 0) -> list[dict[str, Any]]:
        """List messages in the order they were added; none if there is no such thread."""
        if limit < 1:
            return []
        found = await self.persistence.threads.get_messages(thread_id, limit=limit, offset=offset)
        return [message_of(thread_id, message) for message in found]

    # Feedback.

    async def add_feedback(
        self,
        thread_id: str,
        user_id: str,
        agent_name: str,
        *,
        rating: int | None = None,
        comment: str | None = None,
        message_id: int | None = None,
        feedback_type: str = "thumbs",
        query: str = "",
        response: str = "",
        correction: str | None = None,
    ) -> dict[str, Any]:
        """Store feedback, also on no thread (`""`) or on one that is not stored here.

        Raises `InvalidValueError` for a rating that is not 1 to 5.
        """
        fields: dict[str, Any] = {
            "user_id": user_id,
            "agent_name": agent_name,
            "rating": rating,
            "comment": comment,
            "message_id": None if message_id is None else str(message_id),
            "feedback_type": feedback_type,
            "query": query,
            "response": response,
            "correction": correction,
        }
        feedback = self.persistence.feedback
        try:
            return feedback_of(await feedback.create(thread_id or None, **fields))
        except NotFoundError:
            return feedback_of(await feedback.create(None, metadata={"thread_id": thread_id}, **fields))

    async def get_feedback(
        self, *, agent_name: str | None = None, user_id: str | None = None, limit: int = 50
    ) -> list[dict[str, Any]]:
        """List feedback, newest first."""
        if limit < 1:
            return []
        found = self.persistence.feedback.list(agent_name=agent_name or ALL, user_id=user_id or ALL, limit=limit)
        return [feedback_of(record) for record in await found]

    # Suspended states.

    async def save_suspended_state(
        self, approval_id: str, thread_id: str, agent_name: str, node_name: str, state_json: dict[str, Any]
    ) -> dict[str, Any]:
        """Keep a state for seven days, until a person decides. Raises `ConflictError` if the id is taken."""
        made = await self.persistence.approvals.create(
            thread_id, id=approval_id, agent_name=agent_name, node_name=node_name, state=packed(state_json)
        )
        return approval_of(made)

    async def get_suspended_state(self, approval_id: str) -> dict[str, Any] | None:
        """Return a suspended state, or `None` if there is none, or its time is over."""
        found = await self.persistence.approvals.get(approval_id)
        return None if found is None else approval_of(found)

    async def list_suspended_states(
        self, *, thread_id: str | None = None, agent_name: str | None = None
    ) -> list[dict[str, Any]]:
        """List suspended states whose time is not over, newest first."""
        found = self.persistence.approvals.list(thread_id=thread_id or ALL, agent_name=agent_name or ALL)
        return [approval_of(record) async for record in found]

    async def delete_suspended_state(self, approval_id: str) -> bool:
        """Delete a suspended state; of any number of callers, exactly one gets `True`."""
        return await self.persistence.approvals.delete(approval_id)

    async def cleanup_expired_states(self) -> int:
        """Delete the suspended states whose time is over; return how many."""
        return await self.persistence.approvals.purge()

    # Checkpoints.

    async def get_checkpoint(self, thread_id: str, checkpoint_ns: str, checkpoint_id: str) -> dict[str, Any] | None:
        """Return a checkpoint, with an empty id the latest, or `None`."""
        found = await self.persistence.checkpoints.get(thread_id, namespace=checkpoint_ns, id=checkpoint_id or None)
        return None if found is None else checkpoint_of(found)

    async def save_checkpoint(
        self,
        thread_id: str,
        checkpoint_ns: str,
        checkpoint_id: str,
        parent_checkpoint_id: str | None,
        checkpoint: dict[str, Any],
        metadata: dict[str, Any],
    ) -> None:
        """Store a checkpoint. One whose id exists is replaced and keeps its position."""
        await self.persistence.checkpoints.put(
            thread_id,
            checkpoint,
            namespace=checkpoint_ns,
            id=checkpoint_id,
            parent_id=parent_checkpoint_id,
            metadata=metadata,
        )

    async def list_checkpoints(
        self, thread_id: str, checkpoint_ns: str, *, before: str | None = None, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """List checkpoints, the latest first: those before one, or all if there is no such one."""
        checkpoints = self.persistence.checkpoints
        if limit is not None and limit < 1:
            return []
        try:
            found = await checkpoints.list(thread_id, namespace=checkpoint_ns, before=before or None, limit=limit)
        except NotFoundError:
            found = await checkpoints.list(thread_id, namespace=checkpoint_ns, limit=limit)
        return [checkpoint_of(record) for record in found]
