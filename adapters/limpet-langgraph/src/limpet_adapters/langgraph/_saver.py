"""LangGraph's checkpointer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property, partial
from typing import Any, Literal, Self

from langchain_core.runnables import RunnableConfig
from limpet import ALL, NotFoundError, Persistence, sync
from limpet.records import CheckpointRecord

from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from ._history import History, Needed
from ._opened import opened, opened_sync
from ._steps import Step, Steps, awaited, called
from ._tuples import following_version, place_of, to_config, to_tuple
from ._values import Values

__all__ = ["LimpetSaver"]


class LimpetSaver(BaseCheckpointSaver[str]):  # type: ignore[misc]
    """Stores the checkpoints of graphs on any database that Limpet supports, from `async` and plain code, on any event loop.

        async with LimpetSaver.from_url("postgresql://host/agents") as saver: ...
        with LimpetSaver.from_url_sync("sqlite:///agents.db") as saver: ...
        saver = LimpetSaver(persistence)                                # which is never closed here

    What two checkpoints of a thread have in common is stored once, lists element by element.
    """

    def __init__(self, persistence: Persistence, *, serde: SerializerProtocol | None = None) -> None:
        """`persistence` comes from `open_persistence`, or from `create_persistence` for one event loop.

        `serde` makes bytes of values, and of bytes values; LangGraph's, unless it is given.
        """
        super().__init__(serde=serde)
        self.persistence = persistence

    @classmethod
    @asynccontextmanager
    async def from_url(
        cls, url: str, *, serde: SerializerProtocol | None = None, **options: Any
    ) -> AsyncIterator[Self]:
        """A saver on the database at `url`, closed at the end of the block. `options` are those of `open_persistence`."""
        async with opened(url, options) as persistence:
            yield cls(persistence, serde=serde)

    @classmethod
    @contextmanager
    def from_url_sync(cls, url: str, *, serde: SerializerProtocol | None = None, **options: Any) -> Iterator[Self]:
        """As `from_url`, for code without `await`."""
        with opened_sync(url, options) as persistence:
            yield cls(persistence, serde=serde)

    @property
    def _values(self) -> Values:
        return Values(self.serde)  # which `with_allowlist` replaces in a copy

    @cached_property
    def _plain(self) -> sync.CheckpointStore:
        return sync.Persistence.of(self.persistence).checkpoints

    def get_next_version(self, current: str | None, channel: None = None) -> str:
        """The version after `current`."""
        return following_version(current)

    # With await.

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint; return the configuration that names it."""
        at, arguments = self._put_arguments(config, checkpoint, metadata)
        await self.persistence.checkpoints.put(at, **arguments)
        return to_config(at, arguments["namespace"], arguments["id"])

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task has written after a checkpoint."""
        arguments = self._write_arguments(config, writes, task_id)
        await self.persistence.checkpoints.put_writes(
            *arguments, namespace=place_of(config).namespace, task_path=task_path
        )

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that the configuration names, or the latest; `None` if there is none."""
        at = place_of(config)
        record = await self.persistence.checkpoints.get(at.thread_id, namespace=at.namespace, id=at.checkpoint_id)
        return None if record is None else to_tuple(record, self._values)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Checkpoints, the newest first: of a thread, of a namespace, or of everything, by what the configuration says."""
        if limit == 0:
            return
        async for record in self.persistence.checkpoints.list(**self._list_arguments(config, filter, before, limit)):
            if _is_named(config, record.id):
                yield to_tuple(record, self._values)

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete everything of a thread, in one step."""
        await self.persistence.checkpoints.delete(str(thread_id))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of these runs."""
        await self.persistence.checkpoints.delete_for_runs([str(each) for each in run_ids])

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy everything of a thread to a new one. Raises `ConflictError` if the target exists."""
        try:
            await self.persistence.checkpoints.copy(str(source_thread_id), str(target_thread_id))
        except NotFoundError:  # nothing to copy
            return

    async def aprune(
        self,
        thread_ids: Sequence[str],
        *,
        strategy: Literal["keep_latest", "delete"] = "keep_latest",
        keep_last: int = 1,
    ) -> None:
        """Keep the newest `keep_last` checkpoints of each namespace, and what their `DeltaChannel`s need; or delete the threads."""
        await awaited(_prune(thread_ids, strategy, keep_last), {"checkpoints": self.persistence.checkpoints})

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """What was written to channels since their last stored value, by walking the parents, a page of them at a time."""
        at = place_of(config)
        records = self.persistence.checkpoints.history(at.thread_id, namespace=at.namespace, id=at.checkpoint_id)
        history = History(channels, self._values)
        try:
            async for record in records:
                if history.add(record):
                    break
        except NotFoundError:
            pass
        return history.result()

    # Without await.

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """As `aput`."""
        at, arguments = self._put_arguments(config, checkpoint, metadata)
        self._plain.put(at, **arguments)
        return to_config(at, arguments["namespace"], arguments["id"])

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """As `aput_writes`."""
        arguments = self._write_arguments(config, writes, task_id)
        self._plain.put_writes(*arguments, namespace=place_of(config).namespace, task_path=task_path)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """As `aget_tuple`."""
        at = place_of(config)
        record = self._plain.get(at.thread_id, namespace=at.namespace, id=at.checkpoint_id)
        return None if record is None else to_tuple(record, self._values)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """As `alist`."""
        if limit == 0:
            return
        for record in self._plain.list(**self._list_arguments(config, filter, before, limit)):
            if _is_named(config, record.id):
                yield to_tuple(record, self._values)

    def delete_thread(self, thread_id: str) -> None:
        """As `adelete_thread`."""
        self._plain.delete(str(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """As `adelete_for_runs`."""
        self._plain.delete_for_runs([str(each) for each in run_ids])

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """As `acopy_thread`."""
        try:
            self._plain.copy(str(source_thread_id), str(target_thread_id))
        except NotFoundError:
            return

    def prune(
        self,
        thread_ids: Sequence[str],
        *,
        strategy: Literal["keep_latest", "delete"] = "keep_latest",
        keep_last: int = 1,
    ) -> None:
        """As `aprune`."""
        called(_prune(thread_ids, strategy, keep_last), {"checkpoints": self._plain})

    # How.

    def _put_arguments(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata
    ) -> tuple[str, dict[str, Any]]:
        at, values = place_of(config), self._values
        versions = checkpoint["channel_versions"]
        channels = checkpoint["channel_values"]
        return at.thread_id, {
            "checkpoint": {name: value for name, value in checkpoint.items() if name != "channel_values"},
            "namespace": at.namespace,
            "id": checkpoint["id"],
            "parent_id": at.checkpoint_id,
            "metadata": values.encode_metadata(get_checkpoint_metadata(config, metadata)),
            "channels": channels,
            "versions": {name: version for name, version in versions.items() if name in channels},
            "encode": values.encode,
        }

    def _write_arguments(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str
    ) -> tuple[str, str, str, Sequence[tuple[int, str, Any]]]:
        at, values = place_of(config), self._values
        assert at.checkpoint_id is not None, "writes belong to a checkpoint"
        numbered = [(WRITES_IDX_MAP.get(name, n), name, values.encode(value)) for n, (name, value) in enumerate(writes)]
        return at.thread_id, at.checkpoint_id, task_id, numbered

    def _list_arguments(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> dict[str, Any]:
        said = (config or {}).get("configurable", {})
        thread = said.get("thread_id")
        named = said.get("checkpoint_id")
        return {
            "thread_id": ALL if thread is None else str(thread),
            "namespace": ALL if (namespace := said.get("checkpoint_ns")) is None else str(namespace),
            "before": None if before is None else get_checkpoint_id(before),
            "filter": filter,
            "limit": limit if named is None else None,
        }


def _is_named(config: RunnableConfig | None, id: str) -> bool:
    """Whether a configuration that names a checkpoint names this one."""
    named = (config or {}).get("configurable", {}).get("checkpoint_id")
    return named is None or str(named) == id


def _is_kept(kept: set[tuple[str, str]], record: CheckpointRecord) -> bool:
    return (record.namespace, record.id) in kept


def _prune(thread_ids: Sequence[str], strategy: Literal["keep_latest", "delete"], keep_last: int) -> Steps[None]:
    for thread_id in map(str, thread_ids):
        if strategy == "delete":
            yield Step("checkpoints", "delete", (thread_id,))
            continue
        kept: set[tuple[str, str]] = set()
        namespaces = yield Step("checkpoints", "namespaces", (thread_id,))
        for namespace in namespaces:
            yield Step("checkpoints", "history", (thread_id,), {"namespace": namespace}, Needed(kept).add)
        yield Step("checkpoints", "prune", (thread_id,), {"max_count": keep_last, "keep": partial(_is_kept, kept)})
