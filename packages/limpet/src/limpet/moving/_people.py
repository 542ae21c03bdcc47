"""Conversations for people: Markdown to read, CSV for a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime
from typing import IO, Any

from pydantic_core import to_json

__all__ = ["CsvWriter", "MarkdownWriter"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would compute."""


class MarkdownWriter:
    """Writes conversations as Markdown: a heading for each, the messages with who said them and when, tool calls as JSON.

    What was said is quoted, so that nothing in it becomes a heading or a link of the page.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, record: dict[str, Any]) -> None:
        """Add a record of an export."""
        said = record["record"]
        match record["kind"]:
            case "thread":
                self._line(f"# {_one_line(said.get('title') or record['id'])}\n")
                self._line(
                    f"Thread `{_code(record['id'])}`, user `{_code(said['userId'])}`, {_time(said.get('createdAt'))}\n"
                )
            case "session":
                self._line(f"# Session `{_code(record['id'])}`\n")
            case "message":
                self._line(
                    f"## {_one_line(str(said.get('role') or said.get('subtype') or 'message'))}, {_time(said.get('timestamp'))}\n"
                )
                for part in _parts(said):
                    self._line(f"{part}\n")
            case "feedback":
                rating = "" if said.get("rating") is None else f" {said['rating']} of 5"
                self._line(f"**Feedback**{rating}:\n")
                self._line(f"{_quoted(said.get('comment') or '')}\n")
            case _:
                pass  # containers and images have nothing that was said

    def close(self) -> None:
        """Nothing is left to write."""

    def _line(self, text: str) -> None:
        self._file.write(f"{text}\n".encode())


class CsvWriter:
    """Writes one message a row: conversation, number, time, role, text, and the rest as JSON."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._row("conversation", "number", "time", "role", "text", "more")

    def write(self, record: dict[str, Any]) -> None:
        """Add a record of an export, if it is a message."""
        if record["kind"] != "message":
            return
        said = dict(record["record"])
        content = said.pop("content", None)
        text = content if isinstance(content, str) else "" if content is None else to_json(content).decode()
        role, moment = said.pop("role", "") or "", said.pop("timestamp", None)
        owner = record.get("thread") or record.get("session")
        self._row(owner, record["seq"], _time(moment), role, text, to_json(said).decode())

    def close(self) -> None:
        """Nothing is left to write."""

    def _row(self, *cells: object) -> None:
        line = io.StringIO()
        csv.writer(line).writerow([_safe(cell) for cell in cells])
        self._file.write(line.getvalue().encode())


def _safe(cell: object) -> object:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _parts(said: dict[str, Any]) -> list[str]:
    parts: list[str] = []
    content = said.get("content")
    for part in content if isinstance(content, list) else [content]:
        match part:
            case None | "":
                continue
            case str():
                parts.append(_quoted(part))
            case {"text": str(text)}:
                parts.append(_quoted(text))
            case {"type": str(kind)} if "call" not in kind:
                parts.append(f"{_one_line(kind)}:\n\n{_json(_without_data(part))}")
            case _:
                parts.append(_json(part))
    for field in ("toolCall", "toolResult", "toolCalls", "toolCallId"):
        if said.get(field) is not None:
            parts.append(f"{field}:\n\n{_json(said[field])}")
    return parts


def _without_data(part: Any) -> Any:
    """Return a picture or file without its bytes, which nobody reads."""
    if isinstance(part, dict):
        return {name: _without_data(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_without_data(value) for value in part]
    if isinstance(part, str) and len(part) > 200:
        return f"{part[:60]}... ({len(part):,} characters)"
    return part


def _json(value: Any) -> str:
    text = to_json(value, indent=2).decode()
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}json\n{text}\n{fence}"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines() or [""])


def _code(text: str) -> str:
    return _one_line(text).replace("`", "'")


def _one_line(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", " ".join(text.split()))


def _time(moment: Any) -> str:
    if isinstance(moment, int):  # milliseconds since 1970, as records are stored
        return f"{datetime.fromtimestamp(moment / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    return str(moment or "")
