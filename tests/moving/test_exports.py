"""What is exported is readable, comes back as it was, and is never imported by half without a word."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from limpet import (
    ConfigurationError,
    ConflictError,
    CorruptDataError,
    FormatError,
    NotFoundError,
    Persistence,
    create_persistence,
)
from limpet.moving import export, import_file, verify
from limpet.wrappers import encrypted
from limpet.wrappers.encryption import new_key

from ..conftest import EMBEDDED, SERVERS, STOOD_FOR, empty_place, not_on_a_stand_in
from ..formats import place


def _marked(scheme: str) -> Any:
    marks = [pytest.mark.again] if scheme in SERVERS else []
    return pytest.param(scheme, marks=[*marks, *([pytest.mark.exhaustive] if scheme in STOOD_FOR else [])])


@pytest.mark.parametrize("scheme", [_marked(each) for each in (*EMBEDDED, *SERVERS)])
@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
async def test_everything_comes_back(scheme: str, suffix: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    not_on_a_stand_in(request, scheme)
    file = tmp_path / f"all.jsonl{suffix}"
    async with create_persistence(empty_place(scheme, tmp_path)) as persistence:
        await place.fill(persistence)
        report = await export(persistence, file)
        assert report.damaged == {}
        async with create_persistence(f"fs://{tmp_path}/b", wrappers=[encrypted(key=new_key())]) as other:
            imported = await import_file(file, other)
            assert (imported.added, imported.equal) == (report.records, 0)
            await place.check_contents(other)
            assert (await verify(persistence, other)).equal
            again = await import_file(file, other)
            assert (again.added, again.equal, again.conflicts) == (0, report.records, [])


@pytest.mark.parametrize("what", ["threads", "sessions"])
@pytest.mark.parametrize("scheme", [_marked(each) for each in (*EMBEDDED, *SERVERS)])
async def test_conversations_come_back(scheme: str, what: Any, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    not_on_a_stand_in(request, scheme)
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    async with create_persistence(empty_place(scheme, tmp_path)) as persistence:
        await place.fill(persistence)
        await export(persistence, first, what=what)
    async with create_persistence(f"sqlite:///{tmp_path}/b.db") as other:
        report = await import_file(first, other)
        await export(other, second, what=what)
        records = _records(first)
        assert report.added == len(records)
        assert _without_numbers(_records(second)) == _without_numbers(
            records
        )  # t1 lost a message, so its numbers are new
        if what == "threads":
            lineage = await other.threads.lineage("t2")
            assert lineage.ancestors == ("t1",)
            assert (await other.threads.stats()).threads == 2
        else:
            assert (await other.sessions.lineage("s2")).ancestors == ("s1",)


def _records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()][1:-1]


def _without_numbers(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    plain = [{field: value for field, value in record.items() if field != "seq"} for record in records]
    return sorted(plain, key=lambda record: (record["kind"], json.dumps(record, sort_keys=True)))


async def test_each_line_says_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    async with create_persistence("memory://") as persistence:
        await place.fill(persistence)
        await export(persistence, file)
        await export(persistence, tmp_path / "t.jsonl", what="threads")
    items = {record["key"]: record for record in _records(file)}
    assert items["threads!@t1"]["path"] == ["threads", "t1"]
    assert items["threads!@t1"]["json"]["title"] == "A thread"
    assert items["storage!@picture"]["base64"]
    kinds = [record["kind"] for record in _records(tmp_path / "t.jsonl")]
    assert set(kinds) == {"thread", "message", "feedback"}
    assert _records(tmp_path / "t.jsonl")[0]["record"]["userId"] == "ada"


async def _thread(persistence: Persistence, messages: int, id: str = "t1") -> None:
    times = {"created_at": 1, "updated_at": 1}
    await persistence.threads.add({"id": id, "user_id": "ada", "agent_name": "helper", "title": id, **times})
    for start in range(0, messages, 100):
        await persistence.threads.add_messages(
            id,
            [
                {"role": "user", "content": f"message {n}", "id": f"m{n}", "timestamp": n}
                for n in range(start, min(start + 100, messages))
            ],
        )


async def test_a_selection(tmp_path: Path) -> None:
    async with create_persistence("memory://") as persistence:
        for id in ("t1", "t2", "t3"):
            await _thread(persistence, 2, id)
        await persistence.threads.create(user_id="bob", agent_name="helper", id="t4")
        await export(persistence, tmp_path / "a.jsonl", what="threads", ids=["t3", "t1"])
        await export(persistence, tmp_path / "b.jsonl", what="threads", user_id="bob")
        assert [each["id"] for each in _records(tmp_path / "a.jsonl") if each["kind"] == "thread"] == ["t3", "t1"]
        assert [each["id"] for each in _records(tmp_path / "b.jsonl")] == ["t4"]
        with pytest.raises(NotFoundError, match="nobody"):
            await export(persistence, tmp_path / "c.jsonl", what="threads", ids=["nobody"])
        with pytest.raises(NotFoundError):
            await export(persistence, tmp_path / "c.jsonl", what="threads", ids=["t4"], user_id="ada")
    assert sorted(os.listdir(tmp_path)) == ["a.jsonl", "b.jsonl"]


async def test_conflicts(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    async with create_persistence("memory://") as persistence:
        await _thread(persistence, 10)
        await export(persistence, file, what="threads")
    for what, expected in (("stop", None), ("skip", "other"), ("replace", "message 5")):
        async with create_persistence("memory://") as persistence:
            await _thread(persistence, 5)
            await persistence.threads.add_message("t1", "user", "other", id="m5")
            await persistence.threads.add_message("t1", "user", "more", id="more")
            if expected is None:
                with pytest.raises(ConflictError, match="m5"):
                    await import_file(file, persistence)
                assert await persistence.threads.count_messages("t1") == 7
                continue
            dry = await import_file(file, persistence, on_conflict=what, dry_run=True)  # type: ignore[arg-type]
            assert await persistence.threads.count_messages("t1") == 7
            done = await import_file(file, persistence, on_conflict=what)  # type: ignore[arg-type]
            assert dry == done
            assert done.equal == 6
            messages = await persistence.threads.get_messages("t1")
            assert messages[5].content == expected
            assert len(messages) == (10 if what == "replace" else 7)


async def test_a_beginning_is_continued_and_what_went_on_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    async with create_persistence("memory://") as persistence:
        await _thread(persistence, 10)
        await export(persistence, file, what="threads")
        await persistence.threads.add_message("t1", "user", "went on")
        report = await import_file(file, persistence)
        assert (report.equal, report.added, report.conflicts) == (11, 0, [])
        assert await persistence.threads.count_messages("t1") == 11
    async with create_persistence("memory://") as persistence:
        await _thread(persistence, 4)
        report = await import_file(file, persistence, on_conflict="skip")
        assert (report.equal, report.added) == (5, 6)  # the thread, and four messages
        assert [message.id for message in await persistence.threads.get_messages("t1")] == [f"m{n}" for n in range(10)]


async def test_a_title_that_differs(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    async with create_persistence("memory://") as persistence:
        await _thread(persistence, 1)
        await export(persistence, file, what="threads")
        await persistence.threads.update("t1", title="Renamed")
        with pytest.raises(ConflictError, match="thread 't1'"):
            await import_file(file, persistence)
        await import_file(file, persistence, on_conflict="replace")
        thread = await persistence.threads.get("t1")
    assert thread is not None
    assert thread.title == "t1"


HEADER = {"kind": "header", "format": "limpet export", "version": 1, "what": "threads", "source": "x"}


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        ("cut", CorruptDataError, "without a closing line"),
        ("a line is gone", CorruptDataError, "does not match"),
        ("a word", CorruptDataError, "does not match"),
        ("not json", CorruptDataError, "line 3: this is not JSON"),
        ("no kind", CorruptDataError, "line 3"),
        ("more", CorruptDataError, "after the closing line"),
        ("empty", CorruptDataError, "cut"),
        ("another file", FormatError, "not an export"),
        ("newer", FormatError, "upgrade"),
        ("a list", CorruptDataError, "line 1"),
        ("deep", CorruptDataError, "line 3"),
    ],
)
async def test_a_damaged_file_is_refused_before_anything_is_written(
    damage: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "t.jsonl"
    async with create_persistence("memory://") as persistence:
        await _thread(persistence, 300)
        await export(persistence, file, what="threads")
    lines = file.read_bytes().splitlines(keepends=True)
    changed = {
        "cut": lines[:-1],
        "a line is gone": [*lines[:5], *lines[6:]],
        "a word": [line.replace(b"message 250", b"massage 250") for line in lines],
        "not json": [*lines[:2], b"{nonsense}\n", *lines[3:]],
        "no kind": [*lines[:2], b"{}\n", *lines[3:]],
        "more": [*lines, b"{}\n"],
        "empty": [],
        "another file": [b'{"kind": "something"}\n', *lines[1:]],
        "newer": [json.dumps({**HEADER, "version": 2}).encode() + b"\n", *lines[1:]],
        "a list": [b"[]\n"],
        "deep": [*lines[:2], b"[" * 5000 + b"]" * 5000 + b"\n", *lines[3:]],
    }[damage]
    file.write_bytes(b"".join(changed))
    async with create_persistence("memory://") as persistence:
        with pytest.raises(error, match=message):
            await import_file(file, persistence)
        assert not await persistence.threads.exists("t1")


async def _refused(tmp_path: Path, what: str, *records: dict[str, Any]) -> str:
    """Import records in a file that is whole, and return why it is refused."""
    from limpet.moving._lines import LineWriter

    file = tmp_path / "hostile.jsonl"
    with file.open("wb") as written:
        lines = LineWriter(written, what=what, source="x")
        for record in records:
            lines.write(record)
        lines.close()
    async with create_persistence("memory://") as persistence:
        before = await persistence.driver.get(["manifest"])
        with pytest.raises((CorruptDataError, FormatError)) as refused:
            await import_file(file, persistence, on_conflict="replace")
        assert await persistence.driver.get(["manifest"]) == before
    assert "line " in str(refused.value)
    return str(refused.value)


async def test_hostile_records(tmp_path: Path) -> None:
    item = {"kind": "item", "key": "kv!@n!@k", "text": "1", "etag": "x" * 22}
    for wrong in (
        {"key": "manifest"},
        {"key": "keyring"},
        {"key": "moving!copy"},
        {"key": "../../etc/passwd"},
        {"key": 5},
        {"key": "kv!@n!@" + "k" * 5000},
        {"etag": None},
        {"text": 5},
        {"base64": "AA=="},
        {"text": None, "base64": "not base64!"},
        {"expires_at": "soon"},
        {"kind": "thread"},
    ):
        await _refused(tmp_path, "all", item | wrong)
    thread = {
        "kind": "thread",
        "id": "t",
        "record": {"id": "t", "userId": "u", "agentName": "a", "createdAt": 1, "updatedAt": 1},
    }
    message = {"kind": "message", "thread": "t", "seq": 0, "record": {"role": "user", "content": "x"}}
    await _refused(tmp_path, "threads", message)
    await _refused(tmp_path, "threads", thread, message | {"thread": "other"})
    await _refused(tmp_path, "threads", thread, message | {"record": []})
    await _refused(tmp_path, "threads", thread | {"record": {"id": "t"}})
    await _refused(tmp_path, "threads", thread | {"record": {**thread["record"], "$v": 99}})  # type: ignore[dict-item]
    await _refused(tmp_path, "threads", {"kind": "nonsense"})


async def test_arguments(tmp_path: Path) -> None:
    async with create_persistence("memory://") as persistence:
        await _thread(persistence, 1)
        for name, options in (
            ("a.txt", {}),
            ("a.md", {}),
            ("a.jsonl", {"what": "nothing"}),
            ("a.jsonl", {"ids": ["t1"]}),
            ("a.jsonl", {"what": "sessions", "user_id": "ada"}),
        ):
            with pytest.raises(ConfigurationError):
                await export(persistence, tmp_path / name, **options)
        await export(persistence, tmp_path / "a.jsonl")
        with pytest.raises(ConfigurationError, match="already exists"):
            await export(persistence, tmp_path / "a.jsonl")
        await export(persistence, tmp_path / "a.jsonl", replace=True)
        with pytest.raises(ConfigurationError, match="on_conflict"):
            await import_file(tmp_path / "a.jsonl", persistence, on_conflict="merge")  # type: ignore[arg-type]
        with pytest.raises(NotFoundError):
            await import_file(tmp_path / "nothing.jsonl", persistence)
    assert os.listdir(tmp_path) == ["a.jsonl"]


async def test_a_file_that_cannot_be_read_makes_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"fs://{tmp_path}/new"
    (tmp_path / "other.jsonl").write_text("{}\n")
    (tmp_path / "a.jsonl.zst").write_bytes(b"")
    with pytest.raises(NotFoundError):
        await import_file(tmp_path / "nothing.jsonl.zst", url)
    with pytest.raises(CorruptDataError):
        await import_file(tmp_path / "other.jsonl", url)
    monkeypatch.setattr("limpet.moving._compression._ZSTD", "no_such_module")
    with pytest.raises(ConfigurationError, match="compression"):
        await import_file(tmp_path / "a.jsonl.zst", url)
    assert "new" not in os.listdir(tmp_path)


async def test_for_people(tmp_path: Path) -> None:
    async with create_persistence("memory://") as persistence:
        await persistence.threads.create(user_id="ada", agent_name="helper", id="t1", title="<script> | *title*")
        await persistence.threads.add_message("t1", "user", "=HYPERLINK(1)\n# heading\n<img src=x>")
        parts = [{"type": "text", "text": "Look"}, {"type": "image", "data": "A" * 5000}]
        await persistence.threads.add_message(
            "t1", "assistant", parts, tool_calls=[{"name": "f", "input": {"a": "```"}}]
        )
        await persistence.feedback.create("t1", rating=5, comment="fine")
        await export(persistence, tmp_path / "t.md", what="threads")
        await export(persistence, tmp_path / "t.csv", what="threads")
    page = (tmp_path / "t.md").read_text()
    assert page.startswith("# \\<script\\> \\| \\*title\\*\n")
    assert "> # heading" in page
    assert "(5,000 characters)" in page
    assert "````json" in page
    assert "**Feedback** 5 of 5" in page
    assert all(
        line.startswith(("#", ">", "`", " ", "{", "}", "[", "]", "*", "Thread", "image", "toolCalls"))
        for line in page.split("\n")
        if line
    )
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][:5] == ["conversation", "number", "time", "role", "text"]
    assert [row[4][:10] for row in rows[1:]] == ["'=HYPERLIN", '[{"type":"']


async def test_a_killed_import_continues(tmp_path: Path) -> None:
    file, url = tmp_path / "t.jsonl", f"sqlite:///{tmp_path}/b.db"
    async with create_persistence("memory://") as persistence:
        for n in range(5):
            await _thread(persistence, 500, f"t{n}")
        await export(persistence, file, what="threads")
    program = (
        "import asyncio, sys; from limpet.moving import import_file; asyncio.run(import_file(sys.argv[1], sys.argv[2],"
        " progress=lambda step: print(step.phase, step.items, flush=True)))"
    )
    command = [sys.executable, "-c", program, str(file), url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - nothing else runs here
    assert process.stdout is not None
    while not process.stdout.readline().startswith("importing 1200"):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    report = await import_file(file, url)
    assert report.equal >= 1000
    assert report.added
    async with create_persistence(url) as persistence:
        for n in range(5):
            ids = [message.id async for message in persistence.threads.get_messages(f"t{n}")]
            assert ids == [f"m{n}" for n in range(500)]


async def test_memory_does_not_grow_with_what_is_exported(tmp_path: Path) -> None:
    async def peak(messages: int) -> int:
        file = tmp_path / f"{messages}.jsonl.gz"
        async with create_persistence(f"sqlite:///{tmp_path}/{messages}.db") as persistence:
            await _thread(persistence, messages)
            tracemalloc.start()
            await export(persistence, file, what="threads")
            async with create_persistence(f"sqlite:///{tmp_path}/{messages}-b.db") as other:
                await import_file(file, other)
            _, highest = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        return highest

    assert await peak(8000) < await peak(2000) + 1_000_000
