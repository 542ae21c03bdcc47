"""Which numbers of a log are visible: held against a set, and in linear time however many were cut out."""

from __future__ import annotations

from random import Random
from time import perf_counter

import pytest
from limpet import create_persistence
from limpet.driver import MemoryDriver, key, name
from limpet.structures import Log
from limpet.structures.log._head import Head


@pytest.mark.parametrize("seed", range(300))
def test_any_cuts_in_any_order(seed: int) -> None:
    random = Random(seed)
    following = random.randrange(1, 60)
    head, visible = Head(1), set(range(following))
    for _ in range(random.randrange(1, 25)):
        at = random.randrange(-1, following + 2)
        match random.choice(["append", "truncate", "trim", "remove", "remove"]):
            case "append":
                visible |= set(range(following, following + 3))
                following += 3
                continue
            case "truncate":
                cut, left = head.truncated(at, following), {number for number in visible if number <= at}
            case "trim":
                cut, left = head.trimmed(at, following), {number for number in visible if number >= at}
            case _:
                cut, left = head.without(max(at, 0), following), visible - {max(at, 0)}
        assert {number for number in range(following) if cut.shows(number)} == left
        assert cut.count(following) == len(left)
        assert [cut.nth(index) for index in range(len(left))] == sorted(left)
        ranges = cut.cut_from(head)
        assert {number for first, end in ranges for number in range(first, end)} == visible - left
        assert sum(end - first for first, end in ranges) == len(visible - left), "and none of them twice"
        assert all(one[1] < other[0] for one, other in zip(cut.tombstones, cut.tombstones[1:], strict=False))
        head, visible = cut, left


def test_ten_thousand_gaps_cost_ten_times_a_thousand() -> None:
    def cuts(gaps: int) -> float:
        """What one more cut costs where there are so many already."""
        head = Head(1, 0, tuple((2 * n + 1, 2 * n + 2) for n in range(gaps)))
        following = 2 * gaps + 3
        began = perf_counter()
        for _ in range(20):
            for cut in (
                head.truncated(2 * gaps + 1, following),
                head.without(gaps, following),
                head.trimmed(5, following),
            ):
                assert len(cut.cut_from(head)) <= 3
                assert cut.count(following) < head.count(following)
        return perf_counter() - began

    assert cuts(10_000) < 100 * cuts(1_000), "ten times, and not more than a noisy machine adds"
    assert cuts(10_000) < 5.0


async def test_a_log_of_many_gaps_goes_on() -> None:
    async with MemoryDriver() as driver:
        log = Log(driver, key(name("log")))
        await log.create()
        for turn in range(1000):
            question = await log.append("?")
            await log.append("first answer")
            assert await log.truncate(question) == 1
            await log.append(f"answer {turn}")
        assert await log.count() == 2000
        assert [entry.value for entry in await log.last(2)] == ["?", "answer 999"]
        assert await log.remove(0)
        assert await log.trim(2997) == 1999 - 2
        assert await log.count() == 2


async def test_a_regenerated_answer_in_every_turn() -> None:
    async with create_persistence("memory://") as persistence:
        sessions = persistence.sessions
        await sessions.save_session({"sessionId": "s"})
        for _ in range(60):
            question = await sessions.add_message("s", {"subtype": "user", "content": "?"})
            await sessions.add_message("s", {"subtype": "assistant", "content": "first"})
            assert question.seq is not None
            await sessions.truncate_after_message("s", question.seq)
            await sessions.add_message("s", {"subtype": "assistant", "content": "second"})
        assert len(await sessions.get_messages("s")) == 120
