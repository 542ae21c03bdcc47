"""`LimpetSession` under real runs of the SDK, with a model that says what it was told to."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, Runner, SessionSettings
from agents.testing import ScriptedModel
from limpet import ConfigurationError, InvalidValueError, create_persistence, open_persistence
from limpet.driver import Put, Range
from limpet_adapters.openai_agents import LimpetSession


def url_of(folder: Path) -> str:
    return f"sqlite:///{(folder / 'agent.db').as_posix()}"


def said(text: str) -> Any:
    return [{"role": "user", "content": text}]


def answer(text: str) -> Any:
    from openai.types.responses import ResponseOutputMessage, ResponseOutputText

    content = ResponseOutputText(annotations=[], text=text, type="output_text", logprobs=[])
    return [ResponseOutputMessage(id="1", content=[content], role="assistant", status="completed", type="message")]


async def test_an_agent_remembers_in_the_next_run(tmp_path: Path) -> None:
    model = ScriptedModel([answer("Hello, Ada"), answer("You are Ada")])
    agent = Agent(name="Helper", model=model)
    first = LimpetSession("c1", url=url_of(tmp_path))
    await Runner.run(agent, "I am Ada", session=first)
    first.close()
    again = LimpetSession("c1", url=url_of(tmp_path))
    await Runner.run(agent, "Who am I?", session=again)
    items: Any = await again.get_items()
    assert [item["role"] for item in items] == ["user", "assistant", "user", "assistant"]
    assert items[1]["content"][0]["text"] == "Hello, Ada"
    again.close()


def test_run_sync_and_other_loops_see_one_history(tmp_path: Path) -> None:
    session = LimpetSession("c1", url=url_of(tmp_path))
    agent = Agent(name="Helper", model=ScriptedModel([answer("one"), answer("two")]))
    with closing(asyncio.new_event_loop()) as loop:  # which the SDK would leave open
        asyncio.set_event_loop(loop)
        Runner.run_sync(agent, "first", session=session)
        asyncio.set_event_loop(None)
    asyncio.run(_run(agent, session))
    assert len(asyncio.run(session.get_items())) == 4
    session.close()


async def _run(agent: Agent[Any], session: LimpetSession) -> None:
    await Runner.run(agent, "second", session=session)


async def test_items_come_back_as_they_were(tmp_path: Path) -> None:
    session = LimpetSession("c", url=url_of(tmp_path))
    items: Any = [
        {"role": "user", "content": "ä 😀 '; DROP TABLE items; --"},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}", "id": None},
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "x"}]},
        {"id": "msg_1", "seq": 7, "timestamp": "now", "subtype": "user", "role": "user", "content": []},
    ]
    await session.add_items(items)
    assert await session.get_items() == items
    assert [await session.pop_item() for _ in range(5)] == [*items[::-1], None]
    session.close()


async def test_a_batch_is_added_whole_or_not_at_all(tmp_path: Path) -> None:
    session = LimpetSession("c", url=url_of(tmp_path))
    wrong: Any = [*said("fine"), {"role": "user", "content": object()}]
    with pytest.raises(InvalidValueError):
        await session.add_items(wrong)
    assert await session.get_items() == []
    session.close()


async def test_of_concurrent_pops_each_gets_another(tmp_path: Path) -> None:
    async with LimpetSession("c", url=url_of(tmp_path)) as one, LimpetSession("c", url=url_of(tmp_path)) as two:
        await asyncio.gather(*(one.add_items(said(str(n))) for n in range(20)))
        popped: Any = await asyncio.gather(*(each.pop_item() for each in (one, two) for _ in range(10)))
        assert sorted(int(item["content"]) for item in popped) == list(range(20))
        assert await one.get_items() == []


async def test_limits(tmp_path: Path) -> None:
    session = LimpetSession("c", url=url_of(tmp_path), session_settings={"limit": 2})
    for n in range(5):
        await session.add_items(said(str(n)))
    assert [item["content"] for item in await session.get_items()] == ["3", "4"]  # type: ignore[typeddict-item]
    assert [item["content"] for item in await session.get_items(4)] == ["1", "2", "3", "4"]  # type: ignore[typeddict-item]
    assert await session.get_items(0) == []
    assert len(await session.get_items(100)) == 5
    assert isinstance(session.session_settings, SessionSettings)
    session.close()


async def test_a_damaged_item_is_left_out_and_the_limit_is_filled(tmp_path: Path) -> None:
    async with create_persistence(url_of(tmp_path)) as place:
        session = LimpetSession("c", persistence=place)
        for n in range(4):
            await session.add_items(said(str(n)))
        page = await place.driver.scan(Range("messages!@c!e"))
        await place.driver.apply([Put(page.items[2].key, "{")])
        assert [item["content"] for item in await session.get_items(2)] == ["1", "3"]  # type: ignore[typeddict-item]
        await session.pop_item()
        assert await session.pop_item() == {"role": "user", "content": "1"}


async def test_a_conversation_is_forgotten_after_its_time(tmp_path: Path) -> None:
    session = LimpetSession("c", url=url_of(tmp_path), ttl=0.3)
    await session.add_items(said("old"))
    assert len(await session.get_items()) == 1
    await asyncio.sleep(0.4)
    assert await session.get_items() == []
    await session.add_items(said("new"))
    assert await session.get_items() == said("new")
    session.close()


async def test_a_conversation_without_a_time_keeps_what_it_has(tmp_path: Path) -> None:
    async with (
        LimpetSession("c", url=url_of(tmp_path)) as session,
        LimpetSession("c", url=url_of(tmp_path), ttl=9) as timed,
    ):
        await session.add_items(said("kept"))
        assert await timed.get_items() == said("kept")
        await timed.add_items(said("more"))
        assert len(await session.get_items()) == 2


async def test_what_is_added_while_the_past_is_forgotten_stays(tmp_path: Path) -> None:
    async with (
        LimpetSession("c", url=url_of(tmp_path), ttl=0.05) as short,
        LimpetSession("c", url=url_of(tmp_path), ttl=60) as long,
    ):
        for turn in range(20):
            await short.add_items(said("old"))
            await asyncio.sleep(0.06)
            await asyncio.gather(short.get_items(), long.add_items(said(f"new {turn}")), short.get_items())
            assert said(f"new {turn}")[0] in await long.get_items()
            await long.clear_session()


async def test_closed_is_closed_and_nobody_elses(tmp_path: Path) -> None:
    one, two = (LimpetSession(name, url=url_of(tmp_path)) for name in "ab")
    await one.add_items(said("x"))
    one.close()
    one.close()
    for call in (one.get_items(), one.add_items([]), one.pop_item(), one.clear_session()):
        with pytest.raises(RuntimeError, match="LimpetSession is closed"):
            await call
    await two.add_items(said("y"))
    assert await two.get_items() == said("y")
    two.close()
    own = open_persistence(url_of(tmp_path))
    borrowing = LimpetSession("a", persistence=own)
    borrowing.close()
    assert await own.sessions.count_messages("a") == 1
    await own.aclose()


def test_wrong_arguments() -> None:
    with pytest.raises(ConfigurationError, match="pass one of them"):
        LimpetSession("c")
    with pytest.raises(ConfigurationError):
        LimpetSession("c", url="nonsense")


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from limpet_adapters.openai_agents import LimpetSession\n"
        "async def main():\n"
        "    session = LimpetSession('c', url=sys.argv[1])\n"
        "    for n in range(10**6):\n"
        "        await session.add_items([{'role': 'user', 'content': str(n)}])\n"
        "        print(n, flush=True)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, url_of(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(30)][-1]
        process.kill()
        acknowledged = max([acknowledged, *(int(line) for line in process.stdout.read().split())])
    session = LimpetSession("c", url=url_of(tmp_path))
    found = [item["content"] for item in asyncio.run(session.get_items())]  # type: ignore[typeddict-item]
    assert found[: acknowledged + 1] == [str(n) for n in range(acknowledged + 1)]
    assert len(found) <= acknowledged + 2
    session.close()
