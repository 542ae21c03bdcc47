"""What is stored: one document per item, and an index that removes expired items; and documents to items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import DatetimeMS
from bson.codec_options import CodecOptions, DatetimeConversion
from limpet import CorruptDataError
from limpet.driver import Etag, Key
from limpet.driver.kit import Record

__all__ = ["CODEC", "EXPIRY", "document_of", "misfit", "record_of", "removes_expired"]

CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    document_class=dict, datetime_conversion=DatetimeConversion.DATETIME_MS
)
"""Whatever settings an application's client has: plain dictionaries, and dates as whole milliseconds."""

EXPIRY = "limpet_expiry"
"""The index by which the server removes items, up to a minute after they expire. Sparse: most items do not expire."""


def document_of(key: Key, record: Record) -> dict[str, Any]:
    """Return what is stored: the value unchanged (bytes as binary data), and dates as dates."""
    found = {"_id": key, "value": record.value, "etag": record.etag, "updatedAt": DatetimeMS(record.updated_at)}
    return found if record.expires_at is None else {**found, "expiresAt": DatetimeMS(record.expires_at)}


def misfit(known: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a collection: keys must sort by bytes, and nothing may be dropped."""
    options = known.get("options", {})
    if (kind := known.get("type", "collection")) != "collection":
        return f"it is a {kind}"
    if options.get("capped"):
        return "it is capped, so it drops old documents"
    locale = options.get("collation", {}).get("locale", "simple")
    return None if locale == "simple" else f"it sorts by the collation {locale!r}"


def removes_expired(index: Mapping[str, Any]) -> bool:
    """Return whether the server removes expired items by this index, whatever its name."""
    return list(index.get("key", ())) == [("expiresAt", 1)] and "expireAfterSeconds" in index


def record_of(document: Mapping[str, Any], place: str) -> tuple[Key, Record]:
    """Return a document as a record. Raises `CorruptDataError` for one that is not ours."""
    key, value, etag = document.get("_id"), document.get("value"), document.get("etag")
    updated, expires = document.get("updatedAt"), document.get("expiresAt")
    if not (
        isinstance(key, str)
        and isinstance(value, str | bytes | None)
        and isinstance(etag, str)
        and isinstance(updated, DatetimeMS)
        and isinstance(expires, DatetimeMS | None)
    ):
        raise CorruptDataError(
            f"{place}: the document with _id {key!r} was not written by Limpet. It was left unchanged: choose another collection"
        )
    return key, Record(value, Etag(etag), int(updated), None if expires is None else int(expires))
