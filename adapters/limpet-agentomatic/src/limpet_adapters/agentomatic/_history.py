"""What Agentomatic keeps of its work: invocation logs, analyses of them, and optimisation runs."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import uuid4

from limpet import ConflictError
from limpet.driver import Driver
from limpet.records import Record
from limpet.structures import Collection, Index, ModelCodec
from pydantic_core import to_jsonable_python

__all__ = ["Analysis", "Entries", "Entry", "Invocation", "OptimizationRun"]

E = TypeVar("E", bound="Entry")

_logger = logging.getLogger("limpet")


class Entry(Record):
    """Something that is written once."""

    id: str
    agent_name: str
    at: int
    """Microseconds since 1970, by the clock of who wrote it: newest first."""

    @property
    def moment(self) -> str:
        """When it was written, in ISO 8601."""
        return datetime.fromtimestamp(self.at / 1_000_000, UTC).isoformat()


class Invocation(Entry):
    """A call of an agent, or of another resource."""

    resource_type: str
    thread_id: str | None = None
    run_id: str | None = None
    endpoint: str
    input: dict[str, Any]
    output: dict[str, Any]
    metadata: dict[str, Any]
    error: str | None = None
    duration_ms: float | None = None
    status: str

    def shown(self) -> dict[str, Any]:
        """As Agentomatic's stores return it."""
        return {**self.model_dump(exclude={"at"}), "resource_name": self.agent_name, "timestamp": self.moment}


class Analysis(Entry):
    """What was found in the logs of a resource."""

    resource_type: str
    score: float | None = None
    summary: str
    status: str
    recommendations: list[Any]
    metadata: dict[str, Any]

    def shown(self) -> dict[str, Any]:
        """As Agentomatic's stores return it."""
        return {**self.model_dump(exclude={"at"}), "resource_name": self.agent_name, "created_at": self.moment}


class OptimizationRun(Entry):
    """A run that improved the prompts of an agent."""

    experiment_id: str
    baseline_score: float | None = None
    best_score: float | None = None
    prompt_versions: dict[str, Any]
    score_history: list[Any]
    learnings: list[Any]
    artefacts: dict[str, Any]
    metadata: dict[str, Any]

    def shown(self) -> dict[str, Any]:
        """As Agentomatic's stores return it."""
        return {**self.model_dump(exclude={"at"}), "created_at": self.moment}


class Entries(Generic[E]):
    """All entries of one kind, newest first, found by some of their fields."""

    def __init__(self, driver: Driver, kind: type[E], collection: str, prefix: str, fields: tuple[str, ...]) -> None:
        """`prefix` begins the ids that are generated; of `fields`, the first that a filter names selects the index."""
        self._kind = kind
        self._prefix = prefix
        self._fields = fields
        self._entries: Collection[E] = Collection(
            driver,
            collection,
            ModelCodec(kind),
            id_of=lambda entry: entry.id,
            indexes=[Index(field, lambda entry, field=field: getattr(entry, field)) for field in fields],  # type: ignore[misc]
            created_at=lambda entry: entry.at,
        )

    async def add(self, id: str | None, fields: Mapping[str, Any]) -> E:
        """Store an entry. What JSON cannot hold becomes text. Raises `ConflictError` if the id is taken."""
        id = id or f"{self._prefix}_{uuid4().hex[:16]}"
        now = round(datetime.now(UTC).timestamp() * 1_000_000)
        entry = self._kind.model_validate({**to_jsonable_python(dict(fields), fallback=str), "id": id, "at": now})
        try:
            await self._entries.save(entry, if_absent=True)
        except ConflictError as taken:
            raise ConflictError(f"{id!r} is taken: choose another id", items=taken.items) from None
        return entry

    async def get(self, id: str) -> E | None:
        """Return the entry, or `None`."""
        return await self._entries.get(id)

    async def list(self, limit: int, offset: int, **filters: str | None) -> list[E]:
        """List what matches all filters; one that is empty is none."""
        found: list[E] = []
        async for entry in self._matching(filters):
            if offset > 0:
                offset -= 1
            elif len(found) < limit:
                found.append(entry)
            if len(found) >= limit:
                break
        return found

    async def count(self, **filters: str | None) -> int:
        """Return how many match all filters. With one filter, only its index is read."""
        given = {field: value for field, value in filters.items() if value}
        if len(given) == 1:
            ((field, value),) = given.items()
            return len(await self._entries.ids(field, value))
        return sum([1 async for _ in self._matching(given)])

    async def delete(self, before: datetime | None, **filters: str | None) -> int:
        """Delete what matches all filters and was written before a moment; return how many."""
        limit = None if before is None else round(before.timestamp() * 1_000_000)
        ids = [entry.id async for entry in self._matching(filters) if limit is None or entry.at < limit]
        return sum([await self._entries.delete(id) for id in ids])

    async def _matching(self, filters: Mapping[str, str | None]) -> AsyncIterator[E]:
        given = {field: value for field in self._fields if (value := filters.get(field))}
        field, value = next(iter(given.items()), (None, None))
        listing = self._entries.all() if field is None or value is None else self._entries.find(field, value)
        async for entry in listing.skip_unreadable(_log_skipped):
            if all(getattr(entry, name) == wanted for name, wanted in given.items()):
                yield entry


def _log_skipped(error: Exception) -> None:
    _logger.warning("an entry was left out, since it cannot be read: %s", error)
