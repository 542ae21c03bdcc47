"""JSON Lines with a header and a closing line, so that a file that was cut or changed is recognised."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final

from pydantic_core import from_json, to_json

from .._errors import CorruptDataError, FormatError, NotFoundError
from ..records import utc_now
from ._compression import damage, open_file

__all__ = ["LineWriter", "read_lines"]

_FORMAT: Final = "limpet export"
_VERSION = 1
_LONGEST = 64 * 1024 * 1024
"""Bytes of a line: more than any item takes as JSON."""


class LineWriter:
    """Writes records as lines: a header first, and at the end a line with their number and the digest of all before."""

    def __init__(self, file: IO[bytes], *, what: str, source: str) -> None:
        self._file = file
        self._digest = sha256()
        self.records = 0
        header = {"kind": "header", "format": _FORMAT, "version": _VERSION, "what": what, "source": source}
        self._write({**header, "exported_at": utc_now().isoformat(timespec="seconds")})

    def write(self, record: Mapping[str, Any]) -> None:
        """Add one record, which has a `kind`."""
        self._write(record)
        self.records += 1

    def close(self) -> None:
        """Write the closing line. The file stays open."""
        end = {"kind": "end", "records": self.records, "sha256": self._digest.hexdigest()}
        self._write(end)

    def _write(self, record: Mapping[str, Any]) -> None:
        line = to_json(record) + b"\n"
        self._digest.update(line)
        self._file.write(line)


def read_lines(path: Path) -> Generator[tuple[int, dict[str, Any]], None, None]:
    """Yield the number of each line and its record: the header, and then everything up to the closing line.

    Raises `CorruptDataError`, which names the line, for what is not JSON, is cut, or does not match the closing line;
    `FormatError` for a file that is not an export or of a newer release, and `NotFoundError`.
    """
    digest, number, records = sha256(), 0, 0
    ended = False
    try:
        with open_file(path, "rb") as file:
            while line := file.readline(_LONGEST + 1):
                number += 1
                if ended:
                    raise CorruptDataError(f"{path}, line {number}: there is something after the closing line")
                record = _record(line, path, number)
                if number == 1:
                    _check_header(record, path)
                elif record["kind"] == "end":
                    if record != {"kind": "end", "records": records, "sha256": digest.hexdigest()}:
                        raise CorruptDataError(
                            f"{path}, line {number}: the closing line does not match the {records:,} records before it, "
                            "so the file was changed"
                        )
                    ended = True
                else:
                    records += 1
                digest.update(line)
                if not ended:
                    yield number, record
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}") from None
    except damage(path) as error:
        raise CorruptDataError(f"{path} is damaged after line {number}: {error}") from error
    if not ended:
        raise CorruptDataError(f"{path} ends after line {number}, without a closing line: it was cut")


def _record(line: bytes, path: Path, number: int) -> dict[str, Any]:
    if len(line) > _LONGEST:
        raise CorruptDataError(f"{path}, line {number}: it is longer than {_LONGEST // 1024**2} MiB")
    try:
        record = from_json(line)
    except ValueError as error:
        raise CorruptDataError(f"{path}, line {number}: this is not JSON: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        raise CorruptDataError(f"{path}, line {number}: this is not an object with a kind")
    return record


def _check_header(record: dict[str, Any], path: Path) -> None:
    if record["kind"] != "header" or record.get("format") != _FORMAT:
        raise FormatError(f"{path} is not an export of Limpet: its first line is not the header of one")
    if record.get("version") != _VERSION:
        raise FormatError(
            f"{path} is an export of version {record.get('version')!r}, and this release reads version {_VERSION}: upgrade limpet"
        )
    if not isinstance(record.get("what"), str):
        raise FormatError(f"{path}: the header does not say what was exported")
