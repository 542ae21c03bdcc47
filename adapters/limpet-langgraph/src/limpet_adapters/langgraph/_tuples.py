"""Configurations and records of checkpoints, each as the other side has them."""

from __future__ import annotations

import random
from typing import Any, NamedTuple, cast

from langchain_core.runnables import RunnableConfig
from limpet.records import CheckpointRecord

from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata, CheckpointTuple

from ._values import Values

__all__ = ["Place", "following_version", "place_of", "to_config", "to_tuple"]


class Place(NamedTuple):
    """What a configuration says."""

    thread_id: str
    namespace: str
    checkpoint_id: str | None


def place_of(config: RunnableConfig) -> Place:
    """The thread, the namespace (`""` unless it says so) and the checkpoint."""
    said = config["configurable"]
    id = said.get("checkpoint_id")
    return Place(str(said["thread_id"]), said.get("checkpoint_ns") or "", None if id is None else str(id))


def to_config(thread_id: str, namespace: str, id: str) -> RunnableConfig:
    """The configuration that names a checkpoint."""
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": namespace, "checkpoint_id": id}}


def to_tuple(record: CheckpointRecord, values: Values) -> CheckpointTuple:
    """A stored checkpoint as LangGraph has it."""
    at, namespace = record.thread_id, record.namespace
    channels = {name: values.decode(value) for name, value in record.channels.items()}
    return CheckpointTuple(
        config=to_config(at, namespace, record.id),
        checkpoint=cast("Checkpoint", {**record.checkpoint, "channel_values": channels}),
        metadata=cast("CheckpointMetadata", values.decode_metadata(record.metadata)),
        parent_config=None if record.parent_id is None else to_config(at, namespace, record.parent_id),
        pending_writes=[(write.task_id, write.channel, values.decode(write.value)) for write in record.writes],
    )


def following_version(current: Any) -> str:
    """The version after another: they sort as text, and two branches of a thread never have the same one."""
    last = 0 if current is None else current if isinstance(current, int) else int(str(current).split(".")[0])
    return f"{last + 1:032}.{random.random():018.16f}"
