"""What all records share: snake case in Python, the camelCase JSON of AgentX outside, unknown fields kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from .._errors import InvalidValueError, explain

__all__ = ["Json", "Metadata", "Record", "Timestamp", "as_record", "milliseconds", "utc_now"]

R = TypeVar("R", bound="Record")


def _read_milliseconds(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value / 1000, UTC)
        except (OverflowError, OSError, ValueError) as error:
            raise ValueError(f"{value} is no time in milliseconds since 1970") from error
    return value


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a naive datetime says nothing of its time zone: use datetime.now(UTC)")
    return _whole(value.astimezone(UTC))


def _whole(value: datetime) -> datetime:
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def milliseconds(value: datetime) -> int:
    """Milliseconds since 1970."""
    return round(value.timestamp() * 1000)


Timestamp: TypeAlias = Annotated[
    datetime,
    BeforeValidator(_read_milliseconds),
    AfterValidator(_in_utc),
    PlainSerializer(milliseconds, return_type=int, when_used="json"),
]
"""A moment: a UTC datetime of whole milliseconds in Python, milliseconds since 1970 in JSON. Takes either."""


def _as_json(value: Any) -> Any:
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError as error:
        raise ValueError(f"it cannot be written as JSON: {error}") from error


Json: TypeAlias = Annotated[Any, BeforeValidator(_as_json)]
"""What can be written as JSON; models, dates and the like come back as the JSON that they became."""

Metadata: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_as_json)]
"""Fields of the application's."""


def utc_now() -> datetime:
    """The time that a record is stamped with when its caller gave none. Data for people: nothing is decided by it."""
    return _whole(datetime.now(UTC))


class Record(BaseModel):
    """A pydantic model whose attributes are snake case and whose JSON is AgentX's: camelCase, unknown fields kept."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="allow",
        defer_build=True,
        ser_json_inf_nan="constants",  # not as null, which would come back as nothing
    )


def as_record(model: type[R], value: R | Mapping[str, Any]) -> R:
    """The record itself, or one made of a mapping in camelCase or snake case. Raises `InvalidValueError`."""
    if isinstance(value, model):
        return value
    if not isinstance(value, Mapping):
        raise InvalidValueError(f"{type(value).__name__} is no {model.__name__}: pass one, or a mapping of its fields")
    try:
        return model.model_validate(dict(value))
    except ValidationError as error:
        raise InvalidValueError(f"this is no {model.__name__}: {explain(error)}") from error
