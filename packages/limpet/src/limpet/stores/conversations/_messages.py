"""The messages of a conversation, on a log: shared by sessions and threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Generic, TypeVar

from ..._errors import CorruptDataError, InvalidValueError, NotFoundError
from ...driver import Driver, Key, Write, key, name, text
from ...records import Message
from ...structures import (
    Entry,
    Listing,
    Log,
    LogCache,
    Migrations,
    Numbers,
    Plan,
    ReadSet,
    dump_record,
    log_skipped,
    migrated_object,
)

__all__ = ["Messages"]

M = TypeVar("M", bound=Message)

_SEARCH = 100
"""How many messages are read at a time when looking for an id."""


class Messages(Generic[M]):
    """The messages of all conversations of one kind, each on a log of its own."""

    def __init__(
        self,
        driver: Driver,
        collection: str,
        owner: str,
        load: Callable[[str, str], M],
        migrations: Migrations,
        make: str = "create it first",
    ) -> None:
        """`collection` is the first segment of the keys, `owner` what error messages call a conversation.

        `load` parses a stored message; its second argument says where it is. `make` says how to create a conversation.
        """
        self._collection = name(collection)
        self._load = load
        self._migrations = migrations
        self._make = make
        self._owner = owner
        self._cache = LogCache()
        self._logs = lru_cache(maxsize=4096)(lambda conversation: Log(driver, self._base(conversation), self._cache))

    def log(self, conversation: str) -> Log:
        """Return the log of a conversation, without I/O."""
        return self._logs(conversation)

    async def add(self, conversation: str, message: M, *, unique: bool) -> M:
        """Append a message and return it as stored. Raises `NotFoundError` if the conversation does not exist."""
        stamped = message.stamped()
        try:
            if not unique:
                return stamped.numbered(await self.log(conversation).append(dump_record(stamped, self._migrations)))
            if message.id is None:
                raise InvalidValueError(
                    "unique=True needs a message with an id, because duplicates are recognised by their id"
                )
            seq, added = await self.log(conversation).append_unique(dump_record(stamped, self._migrations), message.id)
        except NotFoundError:
            raise self._missing(conversation) from None
        if added:
            return stamped.numbered(seq)
        entry = await self.log(conversation).get(seq)
        if entry is None:  # cut off since: it no longer exists, and can be added
            return await self.add(conversation, message, unique=True)
        return self._message(conversation, entry)

    async def add_all(self, conversation: str, messages: Sequence[M]) -> list[M]:
        """Append messages, all or none, and return them as stored."""
        stamped = [message.stamped() for message in messages]
        if not stamped:
            return []
        try:
            first = await self.log(conversation).append(
                *(dump_record(message, self._migrations) for message in stamped)
            )
        except NotFoundError:
            raise self._missing(conversation) from None
        return [message.numbered(seq) for seq, message in enumerate(stamped, first)]

    async def add_with(
        self,
        conversation: str,
        messages: Sequence[M],
        keys: Sequence[Key],
        plan: Callable[[ReadSet], Sequence[Write]],
    ) -> list[M]:
        """Append messages and what `plan` writes, all or none. `keys` are what `plan` reads."""
        stamped = [message.stamped() for message in messages]
        values = [dump_record(message, self._migrations) for message in stamped]

        def planned(reads: ReadSet, writes: list[Write], first: int) -> Plan[int]:
            return Plan([*(writes if values else []), *plan(reads)], first)

        try:
            first = await self.log(conversation).transact_append(values, keys, planned)
        except NotFoundError:
            raise self._missing(conversation) from None
        return [message.numbered(seq) for seq, message in enumerate(stamped, first)]

    def list(
        self,
        conversation: str,
        *,
        last: int | None,
        before: int | None,
        after: int | None,
        limit: int | None,
        cursor: str | None,
        offset: int = 0,
    ) -> Listing[M]:
        """List messages in the order they were added; with `last`, the newest ones and a cursor to earlier ones."""
        if last is not None and limit is not None:
            raise InvalidValueError(
                "last= and limit= exclude each other: last= counts from the end, limit= from the start"
            )
        if offset < 0 or (offset and (last, before, after, cursor) != (None, None, None, None)):
            raise InvalidValueError(
                "offset= is 0 or more, counts from the start, and cannot be combined with last=, before=, after= or cursor="
            )
        backwards = last is not None
        log = self.log(conversation)

        async def fetch(position: str | None, count: int) -> tuple[Sequence[M | CorruptDataError], str | None]:
            low, high = after, before
            if offset and position is None:
                low = await log.nth(offset) - 1
            if position is not None:
                low, high = (low, int(position)) if backwards else (int(position), high)
            entries, more = await log.read_part(
                after=low, before=high, limit=count, reverse=backwards, past_damage=True
            )
            following = str(entries[-1].seq) if entries and more else None
            return [self._readable(conversation, entry) for entry in entries], following

        query = [self._base(conversation), "last" if backwards else "messages", str(before), str(after)]
        return Listing(
            query,
            fetch,
            limit=last if backwards else limit,
            cursor=cursor,
            positions=Numbers(after, before),
            backwards=backwards,
        )

    async def remove(self, conversation: str, message: str | int) -> bool:
        """Remove one message by its id or seq; return whether it was there."""
        try:
            seq = await self.seq_of(conversation, message)
        except NotFoundError:
            return False
        return await self.log(conversation).remove(seq)

    async def pop(self, conversation: str) -> M | None:
        """Remove the newest message and return it; `None` if there is none. If it cannot be read, it is removed too."""
        while entry := await self.log(conversation).pop():
            message = self._readable(conversation, entry)
            if not isinstance(message, CorruptDataError):
                return message
            log_skipped(message)
        return None

    async def change(self, conversation: str, message: str | int, change: Callable[[M], M]) -> M:
        """Replace a message with what `change` returns, keeping its number. Raises what `Log.replace` raises."""
        seq = await self.seq_of(conversation, message)

        def changed(entry: Entry) -> str:
            return dump_record(change(self._message(conversation, entry)), self._migrations)

        try:
            return self._message(conversation, await self.log(conversation).replace(seq, changed))
        except NotFoundError:
            raise NotFoundError(f"there is no message {message!r} in the {self._owner} {conversation!r}") from None

    async def clear(self, conversation: str) -> int:
        """Remove all messages; return how many there were."""
        return await self.log(conversation).truncate(-1)

    async def truncate_after(self, conversation: str, message: str | int) -> int:
        """Remove every message after one, given by its id or seq; return how many were removed.

        An id is searched from the end: of several messages with it, the newest counts. Raises `NotFoundError`.
        """
        return await self.log(conversation).truncate(await self.seq_of(conversation, message))

    async def seq_of(self, conversation: str, message: str | int) -> int:
        """Return the seq of a message given by its seq or id. Raises `NotFoundError` for an unknown id."""
        return message if isinstance(message, int) else await self._find(conversation, message)

    async def count(self, conversation: str) -> int:
        """Return how many messages there are, without a scan."""
        return await self.log(conversation).count()

    async def _find(self, conversation: str, message_id: str) -> int:
        before: int | None = None
        while entries := (
            await self.log(conversation).read_part(before=before, limit=_SEARCH, reverse=True, past_damage=True)
        )[0]:
            for entry in entries:
                message = self._readable(conversation, entry)
                if not isinstance(message, CorruptDataError) and message.id == message_id:
                    return entry.seq
            before = entries[-1].seq
        raise NotFoundError(f"there is no message {message_id!r} in the {self._owner} {conversation!r}")

    def _base(self, conversation: str) -> Key:
        return key(self._collection, text(conversation))

    def _missing(self, conversation: str) -> NotFoundError:
        return NotFoundError(f"there is no {self._owner} {conversation!r}: {self._make}")

    def _message(self, conversation: str, entry: Entry) -> M:
        where = f"message {entry.seq} of the {self._owner} {conversation!r}"
        if not isinstance(entry.value, str):
            raise CorruptDataError(f"{where} should be JSON but is bytes")
        stored = migrated_object(entry.value, self._migrations, where)
        return self._load(stored, where).numbered(entry.seq)

    def _readable(self, conversation: str, entry: Entry) -> M | CorruptDataError:
        """Return a message, or why it cannot be read."""
        try:
            return self._message(conversation, entry)
        except CorruptDataError as error:
            error.cursor = str(entry.seq)
            return error
