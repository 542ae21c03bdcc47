"""A conversation's items, as the SDK's `Session` protocol has them."""

from __future__ import annotations

import logging
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from agents import SessionSettings
from agents.memory.session_settings import coerce_session_settings, resolve_session_limit
from limpet import ConfigurationError, CorruptDataError, SharedPersistence

from ._lifetime import Lifetime

if TYPE_CHECKING:
    from agents import TResponseInputItem
    from limpet import Persistence

__all__ = ["LimpetSession"]

_logger = logging.getLogger("limpet")

_SUBTYPE = "openai-agents"


class LimpetSession:
    """The history of one conversation: `Runner.run(agent, "hi", session=LimpetSession("conversation-1", url="sqlite:///agent.db"))`.

    Items come back as they were added, in order. A batch of items is added whole or not at all, and concurrent pops get
    different items. Works on any event loop, and with `Runner.run_sync`. An item that cannot be read is passed over.
    """

    def __init__(
        self,
        session_id: str,
        *,
        url: str | None = None,
        persistence: Persistence | None = None,
        session_settings: SessionSettings | dict[str, Any] | None = None,
        ttl: float | timedelta | None = None,
    ) -> None:
        """The conversation `session_id` in the database at `url`, or in your own `persistence`, which is never closed.

        Sessions of one URL share a database in this process. `session_settings.limit` is how many items are read unless a
        call or the run says so. `ttl` is how many seconds after its last item the conversation is forgotten.
        Raises `ConfigurationError` for neither or both of `url` and `persistence`, and for a URL that is none.
        """
        if (url is None) == (persistence is None):
            raise ConfigurationError("LimpetSession takes a url= or a persistence=: pass one of them")
        self.session_id = session_id
        self.session_settings: SessionSettings | None = coerce_session_settings(session_settings or SessionSettings())
        self._share = None if url is None else SharedPersistence(url)
        own = cast("Persistence", persistence) if self._share is None else self._share.persistence
        self._sessions = own.sessions
        self._lifetime = None if ttl is None else Lifetime(own, ttl)
        self._closed = False

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """The newest `limit` items, oldest of them first; without a limit, or with a negative one, all of them."""
        self._check()
        newest = resolve_session_limit(limit, self.session_settings)
        if newest == 0:
            return []
        await self._forget_in_time()
        last = newest if newest is not None and newest > 0 else None
        messages = await self._sessions.get_messages(self.session_id, last=last).skip_unreadable(_log_skipped)
        return [_item(message) for message in messages]

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Add items at the end, all or none. Raises `InvalidValueError` for one that JSON cannot hold."""
        self._check()
        if not items:
            return
        await self._forget_in_time()
        more = {} if self._lifetime is None else {"expires": True}
        messages = [{"subtype": _SUBTYPE, "role": _role(item), "item": item, **more} for item in items]
        if self._lifetime is not None:
            await self._lifetime.begin(self.session_id)
        await self._sessions.add_messages(self.session_id, messages, create=True)

    async def pop_item(self) -> TResponseInputItem | None:
        """Remove the newest item and return it, or `None` if there is none."""
        self._check()
        await self._forget_in_time()
        message = await self._sessions.pop_message(self.session_id)
        return None if message is None else _item(message)

    async def clear_session(self) -> None:
        """Remove all items."""
        self._check()
        await self._sessions.delete_session(self.session_id)

    def close(self) -> None:
        """End the session; its items stay. The database is closed with the last session of its URL. Safe to repeat."""
        if not self._closed:
            self._closed = True
            if self._share is not None:
                self._share.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _forget_in_time(self) -> None:
        if self._lifetime is not None:
            await self._lifetime.end(self.session_id)

    def _check(self) -> None:
        if self._closed:
            raise RuntimeError(f"{type(self).__name__} is closed")


def _log_skipped(error: CorruptDataError) -> None:
    _logger.warning("an item was left out, since it cannot be read: %s", error)


def _item(message: Any) -> TResponseInputItem:
    return cast("TResponseInputItem", message.item)


def _role(item: Any) -> str:
    """For who looks at the database: who said it, or what kind of item it is."""
    found = item.get("role") or item.get("type") if isinstance(item, dict) else None
    return found if isinstance(found, str) else "item"
