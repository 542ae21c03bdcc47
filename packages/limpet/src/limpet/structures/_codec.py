"""Convert models to stored JSON and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import Generic, TypeVar

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from .._errors import ConfigurationError, CorruptDataError, InvalidValueError, explain
from .._json import check_size, difference, ensure_readable
from .._secrets import raise_alone
from ..driver import Item, Value
from ..records import Record, check_record
from ._migrations import Migrations
from ._versions import VERSION, has_version, migrated_object, stamp_object

__all__ = ["Codec", "ModelCodec", "TypeCodec", "dump_record", "load_record"]

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_FIRST = Migrations()


class Codec(ABC, Generic[T]):
    """How a collection's documents are stored as text."""

    @abstractmethod
    def encode(self, document: T) -> str:
        """Raises `InvalidValueError` for what cannot be stored."""

    @abstractmethod
    def decode(self, item: Item) -> T:
        """Raises `CorruptDataError`, which names the key, if this is not such a document."""

    def is_current(self, item: Item) -> bool:
        """Return whether a stored document has the current version.

        Older ones may have index entries of their old form.
        """
        return True


class ModelCodec(Codec[M]):
    """Stores a pydantic model as a JSON object, by alias. A `None` that is only a default is left out.

    From version 2 on, the object contains its version as `$v`; without it, the version is 1.
    """

    def __init__(
        self, model: type[M], migrations: Migrations = _FIRST, *, without: frozenset[str] = frozenset()
    ) -> None:
        """`without` names fields that are not stored, but filled in when a record is read."""
        self._model = model
        self._migrations = migrations
        self._without = without

    def encode(self, document: M) -> str:
        return dump_record(document, self._migrations, without=self._without)

    def is_current(self, item: Item) -> bool:
        return has_version(str(item.value), self._migrations.version)

    def decode(self, item: Item) -> M:
        ensure_readable(item.value)
        where = f"the item at {item.key!r}"
        return load_record(self._model, migrated_object(item.value, self._migrations, where), where)


class TypeCodec(Generic[T]):
    """Stores values of any type that pydantic can adapt, as JSON by alias. Every `None` is kept.

    The version is not part of the JSON; the caller stores it separately.
    """

    def __init__(self, kind: type[T], migrations: Migrations = _FIRST) -> None:
        """Raises `ConfigurationError` for a type that pydantic cannot adapt."""
        if isinstance(kind, str):
            raise ConfigurationError(f"{kind!r} is a string: pass the type itself")
        try:
            self._adapter: TypeAdapter[T] = TypeAdapter(kind)
        except PydanticUserError as error:
            raise ConfigurationError(f"{kind!r} cannot be stored: pydantic says {error.message}") from error
        except (TypeError, LookupError, AttributeError, RecursionError) as error:
            raise ConfigurationError(
                f"this {type(kind).__name__} is not a type: pass a model, or any other type"
            ) from error
        self.name: str = kind.__name__ if isinstance(kind, type) else str(kind)
        self.version: int = migrations.version
        self._migrations = migrations

    def dump(self, value: T) -> str:
        """Return the JSON text, checked by reading it back.

        Private attributes and fields with `exclude` are not stored, and not compared. Raises `InvalidValueError` if the
        value would come back changed, and `TooLargeError`, before encoding, if it is larger than a value may be.
        """
        check_size(value, f"this {type(value).__name__}")
        try:
            stored = self._adapter.dump_json(value, by_alias=True, round_trip=True, warnings="error")
            back = self._adapter.validate_json(stored)
        except ValidationError as error:
            raise_alone(InvalidValueError(f"this is not a valid {self.name}: {explain(error)}"))
        except (ValueError, TypeError, RecursionError):
            why = self._why(value) or "part of it does not have its declared type, or cannot be written as JSON"
            raise_alone(InvalidValueError(f"this {type(value).__name__} cannot be stored as {self.name}: {why}"))
        if (where := difference(value, back)) is not None:
            raise InvalidValueError(
                f"this {type(value).__name__} would come back from {self.name} as something else, at {where}: "
                "convert it first, or declare its exact type"
            )
        return stored.decode()

    def _why(self, value: T) -> str:
        """Return what is wrong with a value, field by field and without showing it; empty if validation passes."""
        try:
            self._adapter.validate_python(self._adapter.dump_python(value, warnings="none"))
        except ValidationError as error:
            return explain(error)
        except (ValueError, TypeError, RecursionError):
            return ""
        return ""

    def load(self, stored: Value, version: int, where: str) -> T:
        """Return the value in a JSON text of this version.

        Raises `CorruptDataError`, which says `where`, if it is invalid.
        """
        ensure_readable(stored)
        if version != self.version:
            try:
                document = from_json(stored)
            except ValueError as error:
                raise CorruptDataError(f"{where} is not JSON: {error}") from error
            stored = to_json(self._migrations.migrate(document, version, where))
        try:
            return self._adapter.validate_json(stored)
        except ValidationError as error:
            raise_alone(
                CorruptDataError(
                    f"{where} is not a valid {self.name}: {explain(error)}. Add migrations that lead to it, or delete it"
                )
            )


def load_record(model: type[M], stored: str, where: str) -> M:
    """Return the record in a JSON text. Raises `CorruptDataError`, which says `where`, if it is invalid."""
    ensure_readable(stored)
    try:
        return model.model_validate_json(stored)
    except ValidationError as error:
        raise_alone(CorruptDataError(f"{where} is not a valid {model.__name__}: {explain(error)}"))


def dump_record(record: BaseModel, migrations: Migrations = _FIRST, *, without: frozenset[str] = frozenset()) -> str:
    """Return the record as JSON by alias, with its version. A `None` that is only a default is left out.

    Raises `InvalidValueError` if the record would come back changed, and `TooLargeError`.
    """
    given, fields = record.__pydantic_fields_set__, record.__dict__
    unset = {field for field in _optional(type(record)) if field not in given and fields.get(field) is None}
    if isinstance(record, Record):
        check_record(record)
    if (extra := record.__pydantic_extra__) and VERSION in extra:
        raise InvalidValueError(
            f"a field named {VERSION!r} cannot be stored: the name is reserved for the version of the record"
        )
    try:
        stored = record.model_dump_json(by_alias=True, exclude=unset | without, warnings="error")
    except (ValueError, TypeError) as error:
        why = (
            "it holds a lone surrogate, which is not text"
            if "surrogate" in str(error)
            else "a field is not of its type"
        )
        raise_alone(InvalidValueError(f"{type(record).__name__} cannot be written as JSON: {why}"))
    return stored if migrations.version == 1 else stamp_object(stored, migrations.version)


@cache
def _optional(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(field for field, info in model.model_fields.items() if info.default is None)
