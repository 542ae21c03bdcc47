"""A span and a duration for every call, as OpenTelemetry names them for databases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar

from .._errors import ConfigurationError, InvalidKeyError
from ..driver import Append, Driver, Health, Item, Key, Outcome, Page, Range, Unit, name
from ._wrapper import Wrap, Wrapper, layers

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["Traced", "traced"]

_SCOPE = "limpet"
_SCHEMA = "https://opentelemetry.io/schemas/1.33.0"
_SECONDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0]


class Traced(Wrapper):
    """Records each verb as a span of kind CLIENT and in the histogram `db.client.operation.duration`, in seconds.

    Attributes follow the stable conventions for databases: `db.system.name`, `db.operation.name` (the verb),
    `db.operation.batch.size`, `db.collection.name` (the first segment of the keys, if it is chosen by the program and
    the same for all), `db.namespace`, `db.response.returned_rows` and `error.type` (the name of the class, also for
    refusals). Values, user text and error messages are never recorded. `watch` is not traced.

    `namespace` identifies the database; `system` defaults to the driver's name. The default providers are the global
    ones. Requires the extra `limpet[tracing]`. Raises `ConfigurationError`.
    """

    rank: ClassVar[int | None] = 0

    def __init__(
        self,
        inner: Driver,
        *,
        system: str | None = None,
        namespace: str | None = None,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        super().__init__(inner)
        try:
            from opentelemetry import metrics, trace
        except ImportError as error:
            raise ConfigurationError(
                "traced() needs the extra limpet[tracing]: install it from the same source as limpet"
            ) from error
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider, schema_url=_SCHEMA)
        self._duration = metrics.get_meter(_SCOPE, meter_provider=meter_provider, schema_url=_SCHEMA).create_histogram(
            "db.client.operation.duration",
            unit="s",
            description="Duration of database client operations.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._client = trace.SpanKind.CLIENT
        self._failed = trace.StatusCode.ERROR
        named = type(layers(inner)[-1]).__name__.removesuffix("Driver").lower()
        self._always = {"db.system.name": system or named}
        if namespace is not None:
            self._always["db.namespace"] = namespace

    async def get(self, keys: Sequence[Key], *, values: bool = True) -> list[Item | None]:
        with self._span("get", keys, len(keys)):
            return await self.inner.get(keys, values=values)

    async def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        keys = _keys(units)
        with self._span("commit", keys, len(keys)) as note:
            outcomes = await self.inner.commit(units)
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    note("error.type", type(outcome).__name__)
                    break
            return outcomes

    async def scan(self, range: Range) -> Page:
        with self._span("scan", [range.base]) as note:
            page = await self.inner.scan(range)
            note("db.response.returned_rows", len(page.items))
            return page

    async def clear(self, base: Key) -> int:
        with self._span("clear", [base]):
            return await self.inner.clear(base)

    async def purge(self) -> int:
        with self._span("purge"):
            return await self.inner.purge()

    async def health(self, *, probe: bool = False) -> Health:
        with self._span("health"):
            return await self.inner.health(probe=probe)

    @contextmanager
    def _span(
        self, operation: str, keys: Iterable[Key] = (), size: int = 1
    ) -> Iterator[Callable[[str, str | int], None]]:
        """Record one call. Yields a function that adds an attribute once it is known."""
        measured: dict[str, str | int] = {**self._always, "db.operation.name": operation}
        collection = _collection(keys)
        if collection is not None:
            measured["db.collection.name"] = collection
        target = collection or self._always.get("db.namespace")
        with self._tracer.start_as_current_span(
            f"{operation} {target}" if target else operation,
            kind=self._client,
            attributes=measured if size == 1 else {**measured, "db.operation.batch.size": size},
            record_exception=False,  # its message may contain user text
            set_status_on_exception=False,
        ) as span:

            def note(attribute: str, value: str | int) -> None:
                span.set_attribute(attribute, value)
                if attribute == "error.type":
                    span.set_status(self._failed)
                    measured[attribute] = value

            began = perf_counter()
            try:
                yield note
            except BaseException as error:
                note("error.type", type(error).__name__)
                raise
            finally:
                self._duration.record(perf_counter() - began, measured)


def traced(
    *,
    system: str | None = None,
    namespace: str | None = None,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> Wrap:
    """Record every call, for `wrappers=`; see `Traced`. Put it first to see what the stores request."""
    return lambda driver: Traced(
        driver,
        system=system,
        namespace=namespace,
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
    )


def _keys(units: Sequence[Unit]) -> list[Key]:
    """Yield the key of each operation: one for each write of a batch, and the log's for each entry of an append."""
    keys: list[Key] = []
    for unit in units:
        keys += [unit.log] * len(unit.puts) if isinstance(unit, Append) else [write.key for write in unit]
    return keys


def _collection(keys: Iterable[Key]) -> str | None:
    """Return the first segment that all keys share, unless a user typed it."""
    firsts = {key.partition("!")[0] if isinstance(key, str) else "" for key in keys}
    try:
        return name(firsts.pop()) if len(firsts) == 1 else None
    except InvalidKeyError:
        return None
