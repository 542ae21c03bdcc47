"""Suspended states as JSON: plain ones as they are, and others as LangGraph writes them, so that messages stay messages."""

from __future__ import annotations

from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

__all__ = ["packed", "unpacked"]


def packed(state: Any) -> Any:
    """The state as JSON that `unpacked` makes equal again; without LangGraph, what JSON makes of it."""
    try:
        if to_jsonable_python(state) == state:
            return state
    except (PydanticSerializationError, ValueError):
        pass
    try:
        from agentomatic.storage.checkpointer import encode_for_storage
    except ImportError:
        return state
    return encode_for_storage(state)


def unpacked(stored: Any) -> Any:
    """The state that was packed."""
    if isinstance(stored, dict) and "__agentomatic_serde_type__" in stored:
        from agentomatic.storage.checkpointer import decode_from_storage

        return decode_from_storage(stored)
    return stored
