"""The session repository of Strands Agents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from limpet import ConflictError, InvalidKeyError, NotFoundError, Persistence, open_persistence, sync

from strands.session.session_repository import SessionRepository
from strands.types.exceptions import SessionException
from strands.types.session import Session, SessionAgent, SessionMessage

if TYPE_CHECKING:
    from strands.multiagent import MultiAgentBase

__all__ = ["LimpetSessionRepository"]

_SESSIONS, _AGENTS, _MESSAGES, _MULTI_AGENTS = (
    "strands.sessions",
    "strands.agents",
    "strands.messages",
    "strands.multi-agents",
)
_MOST = 10**16


class LimpetSessionRepository(SessionRepository):
    """Sessions, their agents and messages on any database that Limpet supports, for a `RepositorySessionManager`.

    Session and agent ids are any text of 1 to 8,192 characters. What is created twice, or belongs to a session or an agent that
    does not exist, is a `SessionException`.
    """

    def __init__(self, persistence: Persistence) -> None:
        """`persistence` comes from `open_persistence`; it is never closed here."""
        self._tree = sync.Persistence.of(persistence).kv_tree(dict[str, Any])

    @classmethod
    @contextmanager
    def from_url(cls, url: str, **options: Any) -> Iterator[Self]:
        """A repository on the database at `url`, closed at the end of the block. `options` are those of `open_persistence`."""
        persistence = open_persistence(url, **options)
        try:
            yield cls(persistence)
        finally:
            sync.Persistence.of(persistence).close()

    # Sessions.

    def create_session(self, session: Session, **kwargs: Any) -> Session:
        """Store a new session, and return it."""
        self._create((_SESSIONS,), session.session_id, session.to_dict(), f"session {session.session_id}")
        return session

    def read_session(self, session_id: str, **kwargs: Any) -> Session | None:
        """The session, or `None`."""
        found = self._tree.kv((_SESSIONS,)).get(session_id)
        return None if found is None else Session.from_dict(found)

    def delete_session(self, session_id: str, **kwargs: Any) -> None:
        """Remove a session with everything in it. Not atomic, safe to repeat: the session itself goes last."""
        self._need_session(session_id)
        for kind in (_MESSAGES, _AGENTS, _MULTI_AGENTS):
            self._tree.clear((kind, session_id))
        self._tree.kv((_SESSIONS,)).delete(session_id)

    # Agents.

    def create_agent(self, session_id: str, session_agent: SessionAgent, **kwargs: Any) -> None:
        """Store a new agent of a session."""
        self._need_session(session_id)
        agent_id = session_agent.agent_id
        self._create(
            (_AGENTS, session_id), agent_id, session_agent.to_dict(), f"agent {agent_id} in session {session_id}"
        )

    def read_agent(self, session_id: str, agent_id: str, **kwargs: Any) -> SessionAgent | None:
        """The agent, or `None`."""
        found = self._tree.kv((_AGENTS, session_id)).get(agent_id)
        return None if found is None else SessionAgent.from_dict(found)

    def update_agent(self, session_id: str, session_agent: SessionAgent, **kwargs: Any) -> None:
        """Replace an agent, all but the time when it was created."""
        at, what = (_AGENTS, session_id), f"agent {session_agent.agent_id} in session {session_id}"
        session_agent.created_at = self._update(at, session_agent.agent_id, session_agent.to_dict(), what)

    # Messages.

    def create_message(self, session_id: str, agent_id: str, session_message: SessionMessage, **kwargs: Any) -> None:
        """Store a new message of an agent."""
        self._need_agent(session_id, agent_id)
        at, key = (_MESSAGES, session_id, agent_id), _number(session_message.message_id)
        self._create(at, key, session_message.to_dict(), f"message {session_message.message_id} of agent {agent_id}")

    def read_message(self, session_id: str, agent_id: str, message_id: int, **kwargs: Any) -> SessionMessage | None:
        """The message, or `None`."""
        found = self._tree.kv((_MESSAGES, session_id, agent_id)).get(_number(message_id))
        return None if found is None else SessionMessage.from_dict(found)

    def update_message(self, session_id: str, agent_id: str, session_message: SessionMessage, **kwargs: Any) -> None:
        """Replace a message, all but the time when it was created."""
        at, key = (_MESSAGES, session_id, agent_id), _number(session_message.message_id)
        what = f"message {session_message.message_id} of agent {agent_id}"
        session_message.created_at = self._update(at, key, session_message.to_dict(), what)

    def list_messages(
        self, session_id: str, agent_id: str, limit: int | None = None, offset: int = 0, **kwargs: Any
    ) -> list[SessionMessage]:
        """The messages of an agent, from the `offset`th on, at most `limit`, in the order of their ids."""
        self._need_agent(session_id, agent_id)
        if (limit is not None and limit < 0) or offset < 0:
            raise ValueError(f"limit is {limit} and offset is {offset}: neither may be negative")
        found = dict(self._tree.kv((_MESSAGES, session_id, agent_id)).list())
        numbers = sorted(found)[offset : None if limit is None else offset + limit]
        return [SessionMessage.from_dict(found[each]) for each in numbers]

    # Graphs and swarms.

    def create_multi_agent(self, session_id: str, multi_agent: MultiAgentBase, **kwargs: Any) -> None:
        """Store the state of a graph or a swarm; one that is there is replaced."""
        self._need_session(session_id)
        self._tree.kv((_MULTI_AGENTS, session_id)).set(multi_agent.id, multi_agent.serialize_state())

    def read_multi_agent(self, session_id: str, multi_agent_id: str, **kwargs: Any) -> dict[str, Any] | None:
        """The state of a graph or a swarm, or `None`."""
        return self._tree.kv((_MULTI_AGENTS, session_id)).get(multi_agent_id)

    def update_multi_agent(self, session_id: str, multi_agent: MultiAgentBase, **kwargs: Any) -> None:
        """Replace the state of a graph or a swarm."""
        try:
            self._tree.kv((_MULTI_AGENTS, session_id)).replace(multi_agent.id, multi_agent.serialize_state())
        except NotFoundError as error:
            raise SessionException(f"multi-agent {multi_agent.id} in session {session_id} does not exist") from error

    def _create(self, at: tuple[str, ...], key: str, value: dict[str, Any], what: str) -> None:
        if not key:
            raise InvalidKeyError(f"{what}: an id needs at least one character")
        try:
            self._tree.kv(at).set(key, value, if_absent=True)
        except ConflictError as error:
            raise SessionException(f"{what} already exists") from error

    def _update(self, at: tuple[str, ...], key: str, value: dict[str, Any], what: str) -> str:
        """Replace a value but for `created_at`, which is returned."""
        try:
            updated = self._tree.kv(at).update(key, lambda old: value | {"created_at": old["created_at"]})
        except NotFoundError as error:
            raise SessionException(f"{what} does not exist") from error
        return str(updated["created_at"])

    def _need_session(self, session_id: str) -> None:
        if not self._tree.kv((_SESSIONS,)).exists(session_id):
            raise SessionException(f"session {session_id} does not exist")

    def _need_agent(self, session_id: str, agent_id: str) -> None:
        if not self._tree.kv((_AGENTS, session_id)).exists(agent_id):
            raise SessionException(f"agent {agent_id} in session {session_id} does not exist")


def _number(message_id: int) -> str:
    if not isinstance(message_id, int) or isinstance(message_id, bool) or not 0 <= message_id < _MOST:
        raise ValueError(f"a message id is {message_id!r}: it must be a whole number from 0 to {_MOST - 1}")
    return f"{message_id:016d}"
