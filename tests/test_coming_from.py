"""The table from Agentomatic's names to ours: complete, and each row's code runs."""

from __future__ import annotations

import ast
import re
from inspect import isawaitable
from typing import Any

from limpet import create_persistence

from .test_documentation import ROOT

PAGE = ROOT / "docs/coming-from/agentomatic.md"

BASE_STORE = """
initialize close health_check create_thread get_thread list_threads delete_thread update_thread add_message get_messages
add_feedback get_feedback get_stats save_suspended_state get_suspended_state list_suspended_states delete_suspended_state
cleanup_expired_states fork_thread get_thread_lineage get_checkpoint save_checkpoint list_checkpoints
"""
"""The methods of Agentomatic's `BaseStore` 1.16, but for those for logs, their analyses, and optimisation runs."""


def rows() -> list[tuple[str, list[str]]]:
    """The name on the left, and the code on the right, of each row of the table under "Names"."""
    section = PAGE.read_text(encoding="utf-8").partition("## Names")[2].partition("\n## ")[0]
    lines = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return [(re.findall(r"`(\w+)\(", theirs)[0], re.findall(r"`([^`]+)`", ours)) for theirs, ours, *_ in lines]


def test_every_method_has_a_row() -> None:
    assert sorted(theirs for theirs, _ in rows()) == sorted(BASE_STORE.split())


async def test_each_row_does_what_it_says() -> None:
    async with create_persistence("memory://") as persistence:
        known: dict[str, Any] = {"create_persistence": create_persistence, "persistence": persistence}
        known |= {word: getattr(persistence, word) for word in ("threads", "feedback", "approvals", "checkpoints")}
        answers: dict[str, list[Any]] = {}
        for theirs, codes in rows():
            assert codes, f"the row of {theirs} has no code"
            for code in codes:
                before = set(known)
                result = eval(compile(_kept(code), theirs, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), known)
                if isawaitable(result):
                    await result
                assert before <= set(known)
                answers.setdefault(theirs, []).append(known["_"])
    assert answers["get_thread"][0].title == "Trip"
    assert [each.id for each in answers["list_threads"][0]] == ["t1"]
    assert answers["update_thread"][0].metadata == {"lang": "it"}
    assert [each.content for each in answers["get_messages"][0]] == ["A train?"]
    assert [each.rating for each in answers["get_feedback"][0]] == [5]
    assert (answers["get_stats"][0].threads, answers["get_stats"][0].messages, answers["get_stats"][0].feedback) == (
        1,
        1,
        1,
    )
    assert answers["get_suspended_state"][0].state == {"euros": 59}
    assert [each.id for each in answers["list_suspended_states"][0]] == ["a1"]
    assert answers["delete_suspended_state"][1].status == "decided"
    assert answers["cleanup_expired_states"] == [0]
    assert answers["fork_thread"][0].message_count == 1
    assert answers["get_thread_lineage"][0].ancestors == ("t1",)
    assert answers["save_checkpoint"] == ["c2"]
    assert answers["get_checkpoint"][0].checkpoint == {"step": 2}
    assert [each.id for each in answers["list_checkpoints"][0]] == ["c2"]
    assert answers["delete_thread"] == [True]
    await answers["initialize"][0].aclose()


def _kept(code: str) -> str:
    """The code, with its answer under the name `_`."""
    return f"_ = {code}"
