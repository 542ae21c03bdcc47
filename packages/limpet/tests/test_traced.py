"""Spans and durations: the whole suite beneath them, the names of the conventions, and nothing that a user typed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from limpet import ConfigurationError, ConflictError, InvalidKeyError, create_persistence
from limpet.driver import Append, Capabilities, Check, Driver, If, MemoryDriver, Put, Range, key, name, text
from limpet.wrappers import Traced, Wrapper, traced
from limpet_conformance import DriverConformance
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

CANARY = "canary-7f3a"
A = key(name("kv"), text(CANARY))


class Recorder:
    """A tracer and a meter that keep what they are told."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer = TracerProvider()
        self.tracer.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meter = MeterProvider([self._reader])

    def around(self, driver: Driver, **options: Any) -> Traced:
        return Traced(driver, tracer_provider=self.tracer, meter_provider=self.meter, **options)

    def spans(self) -> list[ReadableSpan]:
        found = list(self._spans.get_finished_spans())
        self._spans.clear()
        return found

    def points(self) -> list[HistogramDataPoint]:
        data = self._reader.get_metrics_data()
        assert data is not None
        (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
        assert (metric.name, metric.unit) == ("db.client.operation.duration", "s")
        return [point for point in metric.data.data_points if isinstance(point, HistogramDataPoint)]

    def everything(self) -> str:
        data = self._reader.get_metrics_data()
        return "".join(span.to_json() or "" for span in self.spans()) + (data.to_json() if data else "")


class TracedMemory(Traced):
    capabilities = MemoryDriver.capabilities


def tracing(url: str) -> Driver:
    recorder = Recorder()
    return TracedMemory(MemoryDriver.from_url(url), tracer_provider=recorder.tracer, meter_provider=recorder.meter)


@pytest.mark.again
class TestTracedMemory(DriverConformance):
    factory = f"{__name__}:tracing"
    capabilities = MemoryDriver.capabilities

    @asynccontextmanager
    async def place(self) -> AsyncIterator[str]:
        yield "memory://"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def driver(recorder: Recorder) -> AsyncIterator[Traced]:
    async with recorder.around(MemoryDriver()) as driver:
        yield driver


B = key(name("kv"), text("b"))
SPANS: dict[str, tuple[Callable[[Driver], Awaitable[object]], str, dict[str, object]]] = {
    "a get": (lambda d: d.get([A]), "get kv", {}),
    "a get of several": (lambda d: d.get([A, B]), "get kv", {"db.operation.batch.size": 2}),
    "a put": (lambda d: d.apply([Put(A, "x")]), "commit kv", {}),
    "a batch": (lambda d: d.apply([Put(A, "x"), Put(B, "x")]), "commit kv", {"db.operation.batch.size": 2}),
    "a batch all over": (
        lambda d: d.apply([Put(A, "x"), Put(name("lease"), "x")]),
        "commit",
        {"db.operation.batch.size": 2, "db.collection.name": None},
    ),
    "a page": (lambda d: d.scan(Range(name("kv"))), "scan kv", {"db.response.returned_rows": 1}),
    "a page of everything": (
        lambda d: d.scan(Range("")),
        "scan",
        {"db.response.returned_rows": 1, "db.collection.name": None},
    ),
    "a page below text": (
        lambda d: d.scan(Range(text(CANARY))),
        "scan",
        {"db.response.returned_rows": 0, "db.collection.name": None},
    ),
    "a group": (
        lambda d: d.commit([[Put(B, "x")], Append(key(B, name("n")), (Put(B, "x"),), Check(A))]),
        "commit kv",
        {"db.operation.batch.size": 2},
    ),
    "an append": (lambda d: d.append(key(B, name("n")), [Put(B, "x")], Check(A)), "commit kv", {}),
    "a clearing": (lambda d: d.clear(A), "clear kv", {}),
    "a purge": (lambda d: d.purge(), "purge", {"db.collection.name": None}),
    "a sign of life": (lambda d: d.health(), "health", {"db.collection.name": None}),
}


@pytest.mark.parametrize("case", SPANS)
async def test_a_call_is_a_span_and_a_duration(recorder: Recorder, driver: Traced, case: str) -> None:
    call, title, more = SPANS[case]
    await driver.inner.apply([Put(A, "0")])
    await call(driver)
    (span,) = recorder.spans()
    assert (span.name, span.kind, span.status.status_code) == (title, SpanKind.CLIENT, StatusCode.UNSET)
    operation = title.partition(" ")[0]
    expected = {"db.system.name": "memory", "db.operation.name": operation, "db.collection.name": "kv"} | more
    expected = {attribute: value for attribute, value in expected.items() if value is not None}
    assert dict(span.attributes or {}) == expected
    (point,) = recorder.points()
    assert point.count == 1
    assert 0 < point.sum < 5
    assert dict(point.attributes or {}) == {
        attribute: value
        for attribute, value in expected.items()
        if attribute in ("db.system.name", "db.operation.name", "db.collection.name")
    }


async def test_errors_are_recorded_by_type_and_nothing_more(recorder: Recorder, driver: Traced) -> None:
    refused = [Put(A, "x", If.PRESENT)]
    with pytest.raises(ConflictError):
        await driver.apply(refused)
    await driver.commit([refused])
    with pytest.raises(InvalidKeyError):
        await driver.get([f"{CANARY} {CANARY}"])
    with pytest.raises(InvalidKeyError):
        await driver.get([5])  # type: ignore[list-item]
    kinds = []
    for span in recorder.spans():
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is None
        assert not span.events
        kinds.append((span.attributes or {})["error.type"])
    assert kinds == ["ConflictError", "ConflictError", "InvalidKeyError", "InvalidKeyError"]
    assert sorted(str((point.attributes or {})["error.type"]) for point in recorder.points()) == [
        "ConflictError",
        "InvalidKeyError",
    ]


async def test_a_cancelled_call_ends_its_span(recorder: Recorder) -> None:
    class Stuck(Wrapper):
        async def purge(self) -> int:
            await asyncio.Event().wait()
            return 0

    driver = recorder.around(Stuck(MemoryDriver()))
    call = asyncio.create_task(driver.purge())
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    (span,) = recorder.spans()
    assert (span.attributes or {})["error.type"] == "CancelledError"


async def test_nothing_that_a_user_typed_is_recorded(recorder: Recorder) -> None:
    class Strict(MemoryDriver):
        capabilities = Capabilities(group=True)

    wrappers = [lambda inner: recorder.around(inner, namespace="agents")]
    async with create_persistence(Strict(), wrappers=wrappers) as persistence:
        await persistence.sessions.save_session({"sessionId": CANARY, "title": CANARY})
        await persistence.sessions.add_message(CANARY, {"subtype": "user", "content": CANARY})
        await persistence.images.save_image({"imageId": CANARY, "containerId": CANARY, "sessionId": CANARY})
        await persistence.sessions.get_messages(CANARY)
        await persistence.images.find_images_by_container_id(CANARY)
        with pytest.raises(InvalidKeyError):
            await persistence.driver.get([CANARY.upper()])
    recorded = recorder.everything()
    assert "db.operation.name" in recorded
    assert CANARY not in recorded
    assert CANARY.upper() not in recorded


async def test_calls_that_travel_together_are_spans_of_who_called(recorder: Recorder) -> None:
    class Grouping(MemoryDriver):
        capabilities = Capabilities(group=True)

    wrappers = [lambda inner: recorder.around(inner, namespace="agents", system="other")]
    async with create_persistence(Grouping(), wrappers=wrappers) as persistence:
        tracer = recorder.tracer.get_tracer("test")

        async def one(at: int) -> None:
            with tracer.start_as_current_span(f"caller {at}"):
                await persistence.driver.apply([Put(text(str(at)), "x")])

        await asyncio.gather(*map(one, range(5)))
    spans = recorder.spans()
    callers = {span.context.span_id for span in spans if span.name.startswith("caller") and span.context}
    calls = [span for span in spans if span.name == "commit agents"]
    assert len(callers) == len(calls) == 5
    assert {span.parent.span_id for span in calls if span.parent} == callers
    assert dict(calls[0].attributes or {}) == {
        "db.system.name": "other",
        "db.namespace": "agents",
        "db.operation.name": "commit",
    }


def test_without_opentelemetry_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigurationError, match=r"limpet\[tracing\]"):
        Traced(MemoryDriver())


async def test_without_providers_the_global_ones_are_used() -> None:
    async with create_persistence("memory://", wrappers=[traced(namespace="agents")]) as persistence:
        await persistence.sessions.save_session({"sessionId": "s"})
