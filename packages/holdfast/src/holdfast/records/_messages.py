"""Messages: one model for each subtype of AgentX, and one that keeps whatever else comes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import ModelWrapValidatorHandler, PrivateAttr, field_validator, model_validator

from ._base import Record, Timestamp, as_record, milliseconds, utc_now

__all__ = ["AssistantMessage", "ErrorMessage", "Message", "ToolCallMessage", "ToolResultMessage", "UserMessage"]


class Message(Record):
    """A message of any subtype; `Message.of` gives the model of a known one.

    `tool_call` and `tool_result` are accepted as spellings of `tool-call` and `tool-result`, which is what is stored.
    """

    _models: ClassVar[dict[str, type[Message]]] = {}

    id: str | None = None
    """Filled in when it is added, if absent: `msg_<milliseconds>_<random>`."""
    role: str | None = None
    subtype: str | None = None
    timestamp: Timestamp | None = None
    """Filled in when it is added, if absent."""

    _seq: int | None = PrivateAttr(default=None)

    @property
    def seq(self) -> int | None:
        """Its number in the session: ascending in the order of adding, never used twice; `None` before it was added."""
        return self._seq

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        subtype = cls.model_fields["subtype"].default
        if isinstance(subtype, str):
            Message._models.setdefault(subtype, cls)

    @field_validator("subtype", mode="before")
    @classmethod
    def _spelling(cls, subtype: Any) -> Any:
        return subtype.replace("_", "-") if subtype in ("tool_call", "tool_result") else subtype

    @model_validator(mode="wrap")
    @classmethod
    def _by_subtype(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """`Message.model_validate` gives the model of the subtype, so that a message reads back as what it was."""
        if cls is Message and isinstance(data, Mapping):
            model = Message._models.get(str(data.get("subtype")).replace("_", "-"))
            if model is not None:
                return model.model_validate(data)  # type: ignore[return-value]
        return handler(data)

    @classmethod
    def of(cls, value: Message | Mapping[str, Any]) -> Message:
        """The message itself, or one made of a mapping. Raises `InvalidValueError`."""
        return as_record(Message, value)

    def stamped(self) -> Self:
        """A copy that has an id and a timestamp."""
        missing: dict[str, Any] = {}
        moment = self.timestamp or utc_now()
        if self.timestamp is None:
            missing["timestamp"] = moment
        if self.id is None:
            missing["id"] = f"msg_{milliseconds(moment)}_{secrets.token_hex(4)}"
        return self.model_copy(update=missing)

    def numbered(self, seq: int) -> Self:
        """The message itself, which knows its number from now on."""
        self._seq = seq
        return self


class UserMessage(Message):
    """What the user said: text, or parts (text, image, file)."""

    role: str | None = "user"
    subtype: Literal["user"] = "user"
    content: str | list[Any]
    parent_id: str | None = None


class AssistantMessage(Message):
    """What the assistant said: text, or parts (text, thinking, file, tool calls)."""

    role: str | None = "assistant"
    subtype: Literal["assistant"] = "assistant"
    content: str | list[Any]
    parent_id: str | None = None
    usage: dict[str, Any] | None = None


class ToolCallMessage(Message):
    """A tool that the assistant wants to be called: `{type, id, name, input}`."""

    role: str | None = "assistant"
    subtype: Literal["tool-call"] = "tool-call"
    tool_call: dict[str, Any] | None = None
    parent_id: str | None = None


class ToolResultMessage(Message):
    """What a tool answered: `{type, id, name, output}`."""

    role: str | None = "tool"
    subtype: Literal["tool-result"] = "tool-result"
    tool_call_id: str | None = None
    tool_result: dict[str, Any] | None = None
    parent_id: str | None = None


class ErrorMessage(Message):
    """What went wrong, shown in the conversation."""

    role: str | None = "error"
    subtype: Literal["error"] = "error"
    content: str | list[Any]
    error_code: str | None = None
    parent_id: str | None = None
