"""LangGraph's conformance suite for checkpointers, a pytest test for each capability."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.report import CapabilityReport
from limpet_adapters.langgraph import LimpetSaver
from proof.places import place, wrappers

TESTS = {
    "put": 17, "put_writes": 10, "get_tuple": 10, "list": 16, "delete_thread": 5,
    "delete_for_runs": 7, "copy_thread": 8, "prune": 8,
}  # fmt: skip
"""How many tests each capability has in langgraph-checkpoint-conformance 0.0.2: 81."""


@checkpointer_test(name="LimpetSaver")
async def saver() -> AsyncIterator[LimpetSaver]:
    async with LimpetSaver.from_url(place(), wrappers=wrappers()) as made:
        yield made


@pytest.fixture(scope="module")
def report() -> CapabilityReport:
    return asyncio.run(validate(saver))


@pytest.mark.parametrize("capability", TESTS)
def test_capability(report: CapabilityReport, capability: str) -> None:
    found = report.results[capability]
    assert found.detected
    assert (found.tests_passed, found.tests_failed) == (TESTS[capability], 0), found.failures
