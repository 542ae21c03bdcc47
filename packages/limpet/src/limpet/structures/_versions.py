"""Versions of stored data: `$v` in Limpet's own objects, a header line before other JSON. Without either, it is 1."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json, to_json

from .._errors import CorruptDataError
from .._json import Unreadable, load_plain
from ..driver import Value
from ._migrations import Migrations

__all__ = ["VERSION", "has_version", "load_object", "load_value", "migrated_object", "stamp_object", "stamp_value"]

VERSION = "$v"
"""The field of a stored object that contains its version. No field of an application may have this name."""

_HEADER = "#limpet "


def stamp_object(stored: str, version: int) -> str:
    """Return the JSON text of an object with its version."""
    if version == 1:
        return stored
    return f'{{"{VERSION}":{version}{"" if stored == "{}" else ","}{stored[1:]}'


def has_version(stored: str, version: int) -> bool:
    """Return whether the JSON text of an object has this version."""
    if version == 1:
        return f'"{VERSION}"' not in stored
    return stored.startswith((f'{{"{VERSION}":{version},', f'{{"{VERSION}":{version}}}'))


def migrated_object(stored: Value | None, migrations: Migrations, where: str) -> str:
    """Return the object's JSON text in the current version. Raises `CorruptDataError`; `FormatError` if it is newer."""
    if isinstance(stored, str) and migrations.version == 1 and has_version(stored, 1):
        return stored
    return to_json(load_object(stored, migrations, where), inf_nan_mode="constants").decode()


def load_object(stored: Value | None, migrations: Migrations, where: str) -> dict[str, Any]:
    """Return the object in a JSON text, in the current version.

    Raises `CorruptDataError`; `FormatError` if it is newer.
    """
    document = load_plain(stored, where)
    if not isinstance(document, dict):
        raise CorruptDataError(f"{where} is not a JSON object")
    migrated = migrations.migrate(document, document.pop(VERSION, 1), where)
    if not isinstance(migrated, dict):
        raise CorruptDataError(f"{where} was migrated to a {type(migrated).__name__}: a step must return an object")
    return migrated


def stamp_value(stored: str, version: int) -> str:
    """Return the JSON text of any value, below a header line with its version. JSON never starts with `#`."""
    return stored if version == 1 else f'{_HEADER}{{"meta":{{"version":{version}}}}}\n{stored}'


def load_value(stored: Value | None, migrations: Migrations, where: str) -> Any:
    """Return the value in a JSON text, in the current version.

    Raises `CorruptDataError`; `FormatError` if it is newer.
    """
    version: Any = 1
    if isinstance(stored, Unreadable):
        raise stored.error
    if isinstance(stored, str) and stored.startswith(_HEADER):
        header, _, stored = stored.removeprefix(_HEADER).partition("\n")
        match load_plain(header, f"the header of {where}"):
            case {"meta": {"version": version}}:
                pass
            case _:
                raise CorruptDataError(f"the header of {where} has no version")
    try:
        value = from_json(stored or "")
    except ValueError as error:
        raise CorruptDataError(f"{where} is not JSON: {error}") from error
    return value if (type(version), version) == (int, migrations.version) else migrations.migrate(value, version, where)
