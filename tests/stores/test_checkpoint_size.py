"""What a long conversation takes on disk: a few times its text, although each step is stored with all that was said."""

from __future__ import annotations

from pathlib import Path
from random import Random
from string import ascii_letters
from uuid import UUID

import pytest
from limpet import create_persistence

TURNS, STEPS = 200, 3


def bytes_in(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.iterdir())


@pytest.mark.parametrize("as_channels", [True, False], ids=["channels", "whole"])
async def test_two_hundred_turns_of_three_steps_take_about_three_times_their_text(
    as_channels: bool, tmp_path: Path
) -> None:
    random = Random(7)
    messages: list[dict[str, str]] = []
    file = tmp_path / "agent.db"
    async with create_persistence(f"sqlite:///{file.as_posix()}?durability=relaxed") as persistence:
        checkpoints = persistence.checkpoints
        parent = None
        for n in range(TURNS * STEPS):
            id = str(UUID(f"019b{n:08x}7000b{random.getrandbits(60):015x}"))
            task = str(UUID(int=random.getrandbits(128)))
            if n % STEPS:
                messages.append({"type": "ai", "content": "".join(random.choices(ascii_letters, k=1000))})
                assert parent is not None
                await checkpoints.put_writes("t", parent, task, [("messages", messages[-1:])], task_path="agent")
            step = {"v": 4, "id": id, "versions_seen": {"agent": {"messages": n}}}
            if as_channels:
                await checkpoints.put(
                    "t",
                    step,
                    id=id,
                    parent_id=parent,
                    metadata={"step": n},
                    channels={"messages": messages},
                    versions={"messages": len(messages)},
                )
            else:
                whole = {**step, "channel_values": {"messages": messages}}
                await checkpoints.put("t", whole, id=id, parent_id=parent, metadata={"step": n})
            parent = id
        latest = await checkpoints.get("t")
        assert latest is not None
        assert messages == (latest.channels if as_channels else latest.checkpoint["channel_values"])["messages"]
        assert len(messages) == 2 * TURNS
    text = sum(len(message["content"]) for message in messages)
    stored = bytes_in(tmp_path)
    assert stored < 3 * text
