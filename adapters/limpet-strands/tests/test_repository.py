"""The rules of Strands' `SessionRepository`, and what is behind them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from limpet import InvalidKeyError, InvalidValueError, Persistence, sync
from limpet_adapters.strands import LimpetSessionRepository
from proof.databases import Database
from strands.types.exceptions import SessionException
from strands.types.session import Session, SessionAgent, SessionMessage, SessionType


@pytest.fixture
def persistence(database: Database) -> Iterator[Persistence]:
    opened = database.open()
    yield opened
    sync.Persistence.of(opened).close()


@pytest.fixture
def repository(persistence: Persistence) -> LimpetSessionRepository:
    made = LimpetSessionRepository(persistence)
    made.create_session(session("s"))
    made.create_agent("s", agent("a"))
    return made


def session(id: str) -> Session:
    return Session(session_id=id, session_type=SessionType.AGENT)


def agent(id: str, **state: Any) -> SessionAgent:
    return SessionAgent(
        agent_id=id, state=state, conversation_manager_state={"removed": 0}, _internal_state={"x": None}
    )


def message(n: int, text: str = "", **more: Any) -> SessionMessage:
    return SessionMessage.from_message(
        {"role": "user", "content": [{"text": text or f"message {n}"}, *more.get("parts", [])]}, n
    )


def test_what_was_created_comes_back(repository: LimpetSessionRepository) -> None:
    made = session("t")
    assert repository.create_session(made) == made
    assert repository.read_session("t") == made
    ada = agent("ada", deep={"a": [1, 2.5, None, "ä 😀 \0"]}, raw=b"\0\xff")
    repository.create_agent("t", ada)
    assert repository.read_agent("t", "ada") == ada
    said = message(0, parts=[{"image": {"format": "png", "source": {"bytes": b"\0\xff" * 1000}}}])
    repository.create_message("t", "ada", said)
    assert repository.read_message("t", "ada", 0) == said
    assert repository.list_messages("t", "ada") == [said]


def test_what_is_not_there(repository: LimpetSessionRepository) -> None:
    assert repository.read_session("x") is None
    assert repository.read_agent("s", "x") is repository.read_agent("x", "a") is None
    assert repository.read_message("s", "a", 5) is repository.read_message("s", "x", 0) is None
    assert repository.read_multi_agent("s", "x") is None
    assert repository.list_messages("s", "a") == []
    for call in (
        lambda: repository.delete_session("x"),
        lambda: repository.create_agent("x", agent("a")),
        lambda: repository.update_agent("s", agent("x")),
        lambda: repository.create_message("s", "x", message(0)),
        lambda: repository.update_message("s", "a", message(0)),
        lambda: repository.list_messages("s", "x"),
    ):
        with pytest.raises(SessionException, match="does not exist"):
            call()


def test_what_is_created_twice_is_refused_and_stays(repository: LimpetSessionRepository) -> None:
    repository.create_message("s", "a", message(0))
    for call in (
        lambda: repository.create_session(session("s")),
        lambda: repository.create_agent("s", agent("a", changed=True)),
        lambda: repository.create_message("s", "a", message(0, "changed")),
    ):
        with pytest.raises(SessionException, match="already exists"):
            call()
    found = repository.read_message("s", "a", 0)
    assert found is not None
    assert found.to_message() == message(0).to_message()


def test_updates_keep_the_time_of_creation(repository: LimpetSessionRepository) -> None:
    before = repository.read_agent("s", "a")
    assert before is not None
    changed = agent("a", n=2)
    changed.created_at = "2000-01-01"
    repository.update_agent("s", changed)
    after = repository.read_agent("s", "a")
    assert after is not None
    assert (after.state, after.created_at, changed.created_at) == ({"n": 2}, before.created_at, before.created_at)
    repository.create_message("s", "a", first := message(0))
    redacted = message(0)
    redacted.redact_message = {"role": "user", "content": [{"text": "[gone]"}]}
    repository.update_message("s", "a", redacted)
    (found,) = repository.list_messages("s", "a")
    assert (found.to_message()["content"], found.created_at) == ([{"text": "[gone]"}], first.created_at)


def test_messages_are_listed_by_number_part_by_part(repository: LimpetSessionRepository) -> None:
    for n in (10, 2, 0, 100, 1):
        repository.create_message("s", "a", message(n))
    for limit, offset, expected in (
        (None, 0, [0, 1, 2, 10, 100]), (2, 0, [0, 1]), (2, 3, [10, 100]), (None, 4, [100]), (3, 9, []), (0, 0, []),
    ):  # fmt: skip
        assert [each.message_id for each in repository.list_messages("s", "a", limit, offset)] == expected
    with pytest.raises(ValueError, match="negative"):
        repository.list_messages("s", "a", -1)


def test_a_session_goes_with_everything_in_it_and_nothing_else(repository: LimpetSessionRepository) -> None:
    repository.create_session(session("s2"))
    repository.create_agent("s2", agent("a"))
    for each in ("s", "s2"):
        repository.create_message(each, "a", message(0))
    repository.delete_session("s")
    assert (repository.read_session("s"), repository.read_agent("s", "a"), repository.read_message("s", "a", 0)) == (
        None,
    ) * 3
    assert len(repository.list_messages("s2", "a")) == 1
    repository.create_session(session("s"))
    repository.create_agent("s", agent("a"))
    assert repository.list_messages("s", "a") == []


@pytest.mark.parametrize(
    "id", [" ", "/", "../..", "a!b#c%", "💙" * 60, "x" * 8192, "null", "\0"], ids=lambda id: repr(id)[:20]
)
def test_any_text_is_an_id(repository: LimpetSessionRepository, id: str) -> None:
    repository.create_session(session(id))
    repository.create_agent(id, agent(id))
    repository.create_message(id, id, message(0))
    assert len(repository.list_messages(id, id)) == 1
    repository.delete_session(id)
    assert repository.read_session(id) is None


def test_what_cannot_be_stored_is_refused_before_anything_is_written(repository: LimpetSessionRepository) -> None:
    for wrong in ("", "x" * 8193):
        with pytest.raises(InvalidKeyError):
            repository.create_session(session(wrong))
        with pytest.raises(InvalidKeyError):
            repository.create_agent("s", agent(wrong))
    for number in (-1, 10**16, True, "1"):
        with pytest.raises(ValueError, match="a message id is"):
            repository.create_message("s", "a", message(number))  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError):
        repository.create_agent("s", agent("b", what=object()))
    assert repository.read_agent("s", "b") is None
    assert repository.list_messages("s", "a") == []


def test_concurrent_writers_lose_nothing(database: Database) -> None:
    one, two = database.open(), database.open()
    repositories = [LimpetSessionRepository(each) for each in ((one, two) if database.is_kept else (one, one))]
    repositories[0].create_session(session("s"))
    repositories[0].create_agent("s", agent("a"))

    def create(n: int) -> str:
        try:
            repositories[n % 2].create_message("s", "a", message(n // 2, f"writer {n % 2}"))
        except SessionException:
            return "refused"
        return "stored"

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(create, range(60)))
    assert sorted(outcomes) == ["refused"] * 30 + ["stored"] * 30
    assert [each.message_id for each in repositories[1].list_messages("s", "a")] == list(range(30))
    for each in (one, two):
        sync.Persistence.of(each).close()


def test_it_is_there_again_and_on_any_event_loop(database: Database) -> None:
    if not database.is_kept:
        pytest.skip("memory is not kept")
    for turn in range(2):
        opened = database.open()
        repository = LimpetSessionRepository(opened)
        if turn == 0:
            repository.create_session(session("s"))

        async def read() -> Session | None:  # as an agent does, within its event loop
            return repository.read_session("s")  # noqa: B023

        assert asyncio.run(read()) is not None
        sync.Persistence.of(opened).close()


def test_the_example(tmp_path: Path) -> None:
    program = Path(__file__).parents[3] / "examples/frameworks/strands_sessions.py"
    command = [sys.executable, str(program), f"sqlite:///{(tmp_path / 'strands.db').as_posix()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.splitlines() == ["You have said 1 things.", "You have said 2 things."]
