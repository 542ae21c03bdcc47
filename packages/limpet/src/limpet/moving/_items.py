"""One stored item as a record of an export, and back."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from typing import Any

from pydantic_core import from_json, to_json

from .._errors import CorruptDataError, InvalidKeyError, InvalidValueError
from ..driver import Etag, Item, Key, Put, check_key, is_number, split, text_of

__all__ = ["as_put", "as_record"]


def as_record(item: Item, now: int) -> dict[str, Any]:
    """Return an item as JSON, readable where its value is: as `json` if that says exactly the same, `text` or `base64`.

    `now` is the backend's clock in milliseconds.
    """
    record: dict[str, Any] = {"kind": "item", "key": item.key, "path": _path(item.key)}
    value = item.value
    if isinstance(value, bytes):
        record["base64"] = b64encode(value).decode()
    elif (parsed := _parsed(value or "")) is not None:
        record["json"] = parsed
    else:
        record["text"] = value
    record |= {"etag": item.etag, "updated_at": item.updated_at}
    if item.ttl_ms is not None:
        record["expires_at"] = now + item.ttl_ms
    return record


def as_put(record: dict[str, Any], where: str, now: int) -> Put | None:
    """Return the put that stores an exported item; `None` if it has expired.

    Raises `CorruptDataError`, which says `where`.
    """
    at, etag, expires = record.get("key"), record.get("etag"), record.get("expires_at")
    if not isinstance(at, str) or not isinstance(etag, str):
        raise CorruptDataError(f"{where}: an item has a key and an etag, both text")
    if expires is not None and (not isinstance(expires, int) or isinstance(expires, bool)):
        raise CorruptDataError(f"{where}: expires_at is {str(expires)[:40]}: it must be milliseconds since 1970")
    ttl = None if expires is None else expires - now
    try:
        check_key(at)
        return None if ttl is not None and ttl < 1 else Put(at, _value(record, where), None, ttl, Etag(etag))
    except (InvalidKeyError, InvalidValueError) as error:
        raise CorruptDataError(f"{where}: {error}") from error


def _value(record: dict[str, Any], where: str) -> str | bytes:
    match [record.get(form) for form in ("json", "text", "base64")], "json" in record:
        case [_, None, None], True:
            return to_json(record["json"]).decode()
        case [None, str(text), None], False:
            return text
        case [None, None, str(encoded)], False:
            try:
                return b64decode(encoded, validate=True)
            except NotBase64 as error:
                raise CorruptDataError(f"{where}: base64 is not base64: {error}") from error
    raise CorruptDataError(f"{where}: an item has its value in one of json, text and base64")


def _parsed(value: str) -> Any:
    """Return the JSON in a text if it is written exactly as it would be here; `None` if not."""
    if not value.startswith(("{", "[")):
        return None
    try:
        parsed = from_json(value)
        return parsed if to_json(parsed).decode() == value else None
    except ValueError:
        return None


def _path(at: Key) -> list[str | int]:
    """Return the parts of a key for people."""
    path: list[str | int] = []
    for segment in split(at):
        if segment.startswith("@"):
            path.append(text_of(segment) or segment)
        else:
            path.append(int(segment) if is_number(segment) else segment)
    return path
