"""What all records share: snake case in Python, the camelCase JSON of AgentX outside, unknown fields kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, ClassVar, TypeAlias, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
)
from pydantic.alias_generators import to_camel

from .._errors import InvalidValueError, TooLargeError, explain
from .._json import MAX_BYTES, as_plain, check_plain, check_size
from .._secrets import raise_alone

__all__ = [
    "Json",
    "Metadata",
    "Parts",
    "Record",
    "Timestamp",
    "as_record",
    "check_record",
    "given",
    "milliseconds",
    "utc_now",
]

R = TypeVar("R", bound="Record")


def _read_milliseconds(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value / 1000, UTC)
        except (OverflowError, OSError, ValueError) as error:
            raise ValueError(f"{value} is not a time in milliseconds since 1970") from error
    return value


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a naive datetime has no time zone: use datetime.now(UTC)")
    return _whole(value.astimezone(UTC))


def _whole(value: datetime) -> datetime:
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def milliseconds(value: datetime) -> int:
    """Milliseconds since 1970. Raises `InvalidValueError` for a time without a time zone."""
    if value.tzinfo is None:
        raise InvalidValueError("a naive datetime has no time zone: use datetime.now(UTC)")
    return round(value.timestamp() * 1000)


Timestamp: TypeAlias = Annotated[
    datetime,
    BeforeValidator(_read_milliseconds),
    AfterValidator(_in_utc),
    PlainSerializer(milliseconds, return_type=int, when_used="json"),
]
"""A moment: a UTC datetime of whole milliseconds in Python, milliseconds since 1970 in JSON. Takes either."""


def _plain(value: Any, info: ValidationInfo) -> Any:
    if type(value) is str or info.mode == "json":
        return value
    return as_plain(value, info.field_name or "the value")


Json: TypeAlias = Annotated[Any, BeforeValidator(_plain)]
"""Plain JSON. Models, dates and the like become the JSON that says the same; what would lose something is refused."""

Metadata: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_plain)]
"""Fields of the application's."""

Parts: TypeAlias = Annotated[str | list[Any], BeforeValidator(_plain)]
"""What a message says: text, or parts of plain JSON."""


def utc_now() -> datetime:
    """The time that a record is stamped with when its caller gave none. Data for people: nothing is decided by it."""
    return _whole(datetime.now(UTC))


class Record(BaseModel):
    """A pydantic model whose attributes are snake case and whose JSON is AgentX's: camelCase, unknown fields kept."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
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
        raise InvalidValueError(f"{type(value).__name__} is not {model.__name__}: pass one, or a mapping of its fields")
    try:
        return model.model_validate(given(model.__name__, value))
    except ValidationError as error:
        raise_alone(InvalidValueError(f"this is not a {model.__name__}: {explain(error)}"))


def given(what: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record as a dict. Raises `InvalidValueError` for what pydantic would convert in silence.

    Raises `TooLargeError` before anything is made of them.
    """
    check_size(dict(fields), what)
    for field, value in fields.items():
        if not isinstance(field, str):
            raise InvalidValueError(
                f"{what} has a field whose name is of type {type(field).__name__}: names are strings"
            )
        if isinstance(value, (bytes, bytearray, memoryview)):
            raise InvalidValueError(f"{what}[{field!r}] is of type {type(value).__name__}: decode it, or use a blob")
    return dict(fields)


def check_record(record: Record) -> None:
    """Refuse a record of which something would not come back equal. Raises `InvalidValueError` and `TooLargeError`."""
    what = type(record).__name__
    fields = record.__dict__
    left = MAX_BYTES
    for value in fields.values():
        if isinstance(value, str):
            left -= len(value)
        elif isinstance(value, Record):
            check_record(value)
        elif isinstance(value, list) and value and isinstance(value[0], Record):
            for each in value:
                check_record(each)
    if left < 0:
        raise TooLargeError(f"{what} is longer than {MAX_BYTES // 1024**2} MiB: store large content as a blob")
    free: dict[str, Any] = {}
    for field in _free(type(record)):
        if (value := fields.get(field)) is not None and type(value) is not str:  # the length of text was counted above
            free[field] = value
    if record.__pydantic_extra__:
        free |= record.__pydantic_extra__
    if free:
        check_plain(free, what, left=left)


@cache
def _free(model: type[BaseModel]) -> tuple[str, ...]:
    """The fields of which the declared type does not say all: they hold plain JSON."""
    ours = {
        field
        for base in model.__mro__
        if base.__module__.startswith("limpet.")
        for field in vars(base).get("__annotations__", ())
    }
    return tuple(field for field, info in model.model_fields.items() if field not in ours or _is_free(info.annotation))


def _is_free(annotation: Any) -> bool:
    return annotation in (Any, object, dict, list) or any(map(_is_free, get_args(annotation)))
