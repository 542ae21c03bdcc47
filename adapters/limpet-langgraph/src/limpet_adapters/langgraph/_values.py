"""Values of LangGraph as JSON with bytes, and back: what the serializer makes of them, lists element by element."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

__all__ = ["Values"]

_LIST = "list"


class Values:
    """One serializer's."""

    def __init__(self, serde: SerializerProtocol) -> None:
        self._serde = serde

    def encode(self, value: Any) -> Any:
        """Bytes with their type in front; for a list one for each element, so that a list that grew is stored once."""
        if type(value) is list:
            return {_LIST: [self._dump(each) for each in value]}
        return self._dump(value)

    def decode(self, stored: Any) -> Any:
        """The reverse of `encode`."""
        if isinstance(stored, dict):
            return [self._load(each) for each in stored[_LIST]]
        return self._load(stored)

    def encode_metadata(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Plain JSON as it is, so that it can be filtered; anything else as bytes."""
        return {name: value if _is_plain(value) else self._dump(value) for name, value in metadata.items()}

    def decode_metadata(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The reverse of `encode_metadata`."""
        return {name: self._load(value) if isinstance(value, bytes) else value for name, value in stored.items()}

    def _dump(self, value: Any) -> bytes:
        kind, data = self._serde.dumps_typed(value)
        return b"\0".join((kind.encode(), data))

    def _load(self, stored: bytes) -> Any:
        kind, _, data = stored.partition(b"\0")
        return self._serde.loads_typed((kind.decode(), data))


def _is_plain(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError, RecursionError):
        return False
