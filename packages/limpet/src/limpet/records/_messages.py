"""Messages: one model for each of AgentX's subtypes, and one for unknown subtypes."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import cache
from os import urandom
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Tag, TypeAdapter, ValidationError, field_validator

from .._errors import CorruptDataError, InvalidValueError, explain
from .._json import ensure_readable
from .._secrets import raise_alone
from ._base import Metadata, Parts, Record, Timestamp, given, milliseconds, utc_now

__all__ = ["AssistantMessage", "ErrorMessage", "Message", "ToolCallMessage", "ToolResultMessage", "UserMessage"]


class Message(Record):
    """A message of any subtype. `Message.of` and `Message.load` give the model of a known one.

    `tool_call` and `tool_result` are accepted as spellings of `tool-call` and `tool-result`, which is what is stored.
    """

    __slots__ = (
        "_seq",
    )  # no field, for AgentX's own JSON may have one of that name; no private one, for they are slow

    id: str | None = None
    """Filled in when it is added, if absent: `msg_<milliseconds>_<random>`."""
    role: str | None = None
    subtype: str | None = None
    timestamp: Timestamp | None = None
    """Filled in when it is added, if absent."""

    @property
    def seq(self) -> int | None:
        """Its number in the session: ascending in the order of adding, never used twice. `None` where it was neither
        added nor read, and for copies."""
        found: int | None = getattr(self, "_seq", None)
        return found

    @field_validator("subtype", mode="before")
    @classmethod
    def _spelling(cls, subtype: Any) -> Any:
        return subtype.replace("_", "-") if subtype in ("tool_call", "tool_result") else subtype

    @staticmethod
    def of(value: Message | Mapping[str, Any]) -> Message:
        """The message itself, or one made of a mapping. Raises `InvalidValueError`."""
        if isinstance(value, Message):
            return value
        if not isinstance(value, Mapping):
            raise InvalidValueError(f"{type(value).__name__} is not a message: pass one, or a mapping of its fields")
        try:
            return _any().validate_python(given("the message", value))
        except ValidationError as error:
            raise_alone(InvalidValueError(f"this is not a message: {explain(error)}"))

    @staticmethod
    def load(stored: str, where: str) -> Message:
        """The message in a JSON text. Raises `CorruptDataError`, which says `where`."""
        ensure_readable(stored)
        try:
            return _any().validate_json(stored)
        except ValidationError as error:
            raise_alone(CorruptDataError(f"{where} is not a message: {explain(error)}"))

    def stamped(self) -> Self:
        """A copy that has an id and a timestamp."""
        missing: dict[str, Any] = {}
        moment = self.timestamp or utc_now()
        if self.timestamp is None:
            missing["timestamp"] = moment
        if self.id is None:
            missing["id"] = f"msg_{milliseconds(moment)}_{urandom(4).hex()}"
        if self.__pydantic_private__ is not None:  # of a model of the application's
            return self.model_copy(update=missing)
        made = type(self).__new__(type(self))  # what model_copy() does, in a quarter of its time
        object.__setattr__(made, "__dict__", {**self.__dict__, **missing})
        object.__setattr__(made, "__pydantic_extra__", copy(self.__pydantic_extra__))
        object.__setattr__(made, "__pydantic_fields_set__", self.__pydantic_fields_set__ | missing.keys())
        object.__setattr__(made, "__pydantic_private__", None)
        return made

    def numbered(self, seq: int) -> Self:
        """The message itself, which knows its number from now on."""
        object.__setattr__(self, "_seq", seq)
        return self


class UserMessage(Message):
    """What the user said: text, or parts (text, image, file)."""

    role: str | None = "user"
    subtype: Literal["user"] = "user"
    content: Parts
    parent_id: str | None = None


class AssistantMessage(Message):
    """What the assistant said: text, or parts (text, thinking, file, tool calls)."""

    role: str | None = "assistant"
    subtype: Literal["assistant"] = "assistant"
    content: Parts
    parent_id: str | None = None
    usage: Metadata | None = None


class ToolCallMessage(Message):
    """A tool that the assistant wants to be called: `{type, id, name, input}`."""

    role: str | None = "assistant"
    subtype: Literal["tool-call"] = "tool-call"
    tool_call: Metadata | None = None
    parent_id: str | None = None


class ToolResultMessage(Message):
    """What a tool answered: `{type, id, name, output}`."""

    role: str | None = "tool"
    subtype: Literal["tool-result"] = "tool-result"
    tool_call_id: str | None = None
    tool_result: Metadata | None = None
    parent_id: str | None = None


class ErrorMessage(Message):
    """What went wrong, shown in the conversation."""

    role: str | None = "error"
    subtype: Literal["error"] = "error"
    content: Parts
    error_code: str | None = None
    parent_id: str | None = None


def _subtype(value: Any) -> str:
    subtype = value.get("subtype") if isinstance(value, Mapping) else getattr(value, "subtype", None)
    tag = subtype.replace("_", "-") if isinstance(subtype, str) else ""
    return tag if tag in ("user", "assistant", "tool-call", "tool-result", "error") else "other"


@cache
def _any() -> TypeAdapter[Message]:
    """Built when the first message is read, not at import."""
    return TypeAdapter(
        Annotated[
            Annotated[UserMessage, Tag("user")]
            | Annotated[AssistantMessage, Tag("assistant")]
            | Annotated[ToolCallMessage, Tag("tool-call")]
            | Annotated[ToolResultMessage, Tag("tool-result")]
            | Annotated[ErrorMessage, Tag("error")]
            | Annotated[Message, Tag("other")],
            Discriminator(_subtype),
        ]
    )
