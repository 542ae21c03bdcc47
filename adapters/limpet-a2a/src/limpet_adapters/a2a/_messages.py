"""How a message is stored: a line of JSON that says whose it is, and the message as protobuf.

Protobuf holds what JSON cannot (NaN, values of no kind, fields of a newer release), and is read a hundred times as fast.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError
from limpet import CorruptDataError, FormatError
from limpet.driver import Item

from a2a.types.a2a_pb2 import Task, TaskPushNotificationConfig

__all__ = ["Owned", "packed", "unpacked"]


M = TypeVar("M", Task, TaskPushNotificationConfig)


@dataclass(frozen=True, slots=True)
class Owned(Generic[M]):
    """A message and what is known of it."""

    message: M
    owner: str
    version: int
    """How many times it was written, from 1."""


def packed(owned: Owned[M]) -> bytes:
    """The stored form."""
    header = {"owner": owned.owner, "version": owned.version}
    return json.dumps(header, separators=(",", ":")).encode() + b"\n" + owned.message.SerializeToString()


def unpacked(item: Item, kind: type[M]) -> Owned[M]:
    """The message in an item. Raises `CorruptDataError`, which names the item's key, if there is none."""
    if not isinstance(item.value, bytes):
        raise _damaged(item, kind, "it is text")
    line, _, rest = item.value.partition(b"\n")
    try:
        header = json.loads(line)
    except ValueError:
        raise _damaged(item, kind, "its first line is not JSON") from None
    match header:
        case {"owner": str(owner), "version": int(version), **more}:
            pass
        case _:
            raise _damaged(item, kind, "its first line does not say whose it is")
    if more:
        raise FormatError(
            f"the item at {item.key!r} has {sorted(map(str, more))} in its first line: a newer release of limpet-a2a wrote it",
            key=item.key,
        )
    message = kind()
    try:
        message.ParseFromString(rest)
    except DecodeError:
        raise _damaged(item, kind, "what follows its first line cannot be parsed") from None
    return Owned(message, owner, version)


def _damaged(item: Item, kind: type[object], why: str) -> CorruptDataError:
    return CorruptDataError(
        f"the item at {item.key!r} is not a {kind.__name__}: {why}. Delete it, or restore it", key=item.key
    )
