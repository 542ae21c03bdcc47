"""What somebody else put into a database does nothing to a terminal or a log that shows it."""

import asyncio
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limpet import create_storage
from limpet._printable import printable, printable_json
from limpet.cli._app import application
from pydantic_core import to_json
from typer.testing import CliRunner

EVIL = "a\x1b[2Jb\x9b31mc\rd\ne\u202ef\u2028g\x00h\x7fi[bold red]"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("users:alice", "users:alice"),
        ("Zoë 東京 😀", "Zoë 東京 😀"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("\x9b1A", "\\x9b1A"),
        ("abc\u202edef\u2066", "abc\\u202edef\\u2066"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_written_as_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_stays_the_same_value(text: str) -> None:
    written = printable_json(to_json({"a": [text]}, indent=2).decode())
    assert json.loads(written) == {"a": [text]}
    assert all(character == "\n" or printable(character) == character for character in written)


def test_the_command_line(tmp_path: Path) -> None:
    url = f"fs://{tmp_path}/data"

    async def write() -> None:
        async with create_storage(url) as storage:
            await storage.set_item(f"users:{EVIL}", EVIL)

    asyncio.run(write())
    commands = [["ls", url], ["ls", url, "--all"], ["ls", url, "--json"], ["get", url, f"users:{EVIL}"]]
    commands += [["get", url, f"users:no{EVIL}"], ["get", f"fs://{tmp_path}/{EVIL[:5]}", "a"], ["stats", url]]
    for command in commands:
        shown = CliRunner().invoke(application(), command).output
        assert shown
        assert [
            character for line in shown.splitlines() for character in line if printable(character) != character
        ] == []
    assert len(CliRunner().invoke(application(), ["ls", url]).stdout.splitlines()) == 1, "one line for each key"
    assert json.loads(CliRunner().invoke(application(), ["ls", url, "--json"]).stdout) == [f"users:{EVIL}"]


def test_logs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "limpet"):
        logging.getLogger("limpet").warning("a subscription to %s failed", EVIL)
    assert caplog.records[0].getMessage() == f"a subscription to {printable(EVIL)} failed"
