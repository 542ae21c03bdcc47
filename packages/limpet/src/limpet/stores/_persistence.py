"""All stores of an agent's data, on one driver."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from .._arguments import checked_arguments
from .._errors import ConfigurationError
from .._run_to_end import run_to_end
from ..driver import Driver, Health
from ..driver.kit import backend_now_ms
from ..structures import Migrations, collect_garbage
from ..wrappers import ensure_owner
from .approvals import ApprovalStore
from .checkpoints import CheckpointStore, prune_all, prune_threads
from .conversations import ContainerRepository, FeedbackStore, ImageRepository, SessionRepository, ThreadStore
from .queues import EventQueue, WorkQueue, collect_jobs, work_wakeups
from .records import AgentState, KeyValueStore, KeyValueTree
from .storage import BlobStore
from .upkeep import (
    Retention,
    RetentionPolicies,
    RetentionReport,
    Upkeep,
    prune_entries,
    prune_history,
    prune_kv,
    prune_records,
)

__all__ = ["Persistence"]

V = TypeVar("V")


@checked_arguments
class Persistence:
    """All stores, each as an attribute or a method. Created by `create_persistence`; close it, or use `async with`."""

    approvals: ApprovalStore
    blobs: BlobStore
    checkpoints: CheckpointStore
    containers: ContainerRepository
    feedback: FeedbackStore
    images: ImageRepository
    sessions: SessionRepository
    threads: ThreadStore

    def __init__(self, driver: Driver) -> None:
        """Takes an open driver, and closes it at the end."""
        self._driver = driver
        self.approvals = ApprovalStore(driver)
        self.checkpoints = CheckpointStore(driver)
        self.blobs = BlobStore(driver)
        self.sessions = SessionRepository(driver)
        self.images = ImageRepository(driver, self.sessions)
        self.threads = ThreadStore(driver, self.approvals, self.checkpoints)
        self.feedback = self.threads.feedback
        self.containers = ContainerRepository(driver, self.images, self.sessions)
        self._work_wakeups = work_wakeups(driver)

    @property
    def driver(self) -> Driver:
        """The open driver, for your own structures (`limpet.structures`)."""
        return self._driver

    @overload
    def kv(
        self, kind: type[V], namespace: str | tuple[str, ...], *, migrations: Migrations | None = None
    ) -> KeyValueStore[V]: ...
    @overload
    def kv(
        self, kind: Any, namespace: str | tuple[str, ...], *, migrations: Migrations | None = None
    ) -> KeyValueStore[Any]: ...
    def kv(
        self, kind: Any, namespace: str | tuple[str, ...], *, migrations: Migrations | None = None
    ) -> KeyValueStore[Any]:
        """Return the values of one type in a namespace, without I/O. `kind` is any type that pydantic can adapt.

        A namespace may be any text. A tuple of labels is a namespace in a tree, which `kv_tree` lists: its values are
        apart from those of any text, so `"a"` and `("a",)` are two namespaces. Agent states are kept apart from both.
        """
        driver = self._driver_of(namespace) if isinstance(namespace, str) else self._driver_of_tree()
        return KeyValueStore(driver, kind, namespace, migrations=migrations)

    @overload
    def kv_tree(self, kind: type[V], *, migrations: Migrations | None = None) -> KeyValueTree[V]: ...
    @overload
    def kv_tree(self, kind: Any, *, migrations: Migrations | None = None) -> KeyValueTree[Any]: ...
    def kv_tree(self, kind: Any, *, migrations: Migrations | None = None) -> KeyValueTree[Any]:
        """Return the values of one type in all namespaces that are tuples of labels, without I/O."""
        return KeyValueTree(self._driver_of_tree(), kind, migrations=migrations)

    async def get_kv_store(self, model_cls: type[V], namespace: str) -> KeyValueStore[V]:
        """`kv` in Naylence's spelling."""
        return self.kv(model_cls, namespace)

    def state(
        self,
        kind: type[V],
        namespace: str,
        *,
        key: str = "state",
        factory: Callable[[], V] | None = None,
        migrations: Migrations | None = None,
        history: int = 0,
        lease: float = 15.0,
        timeout: float | None = 30.0,
    ) -> AgentState[V]:
        """Return a state of type `kind`, which only one task at a time can change, without I/O. See `AgentState`.

        A namespace may be any text. Records (`kv`) of the same namespace are kept apart.
        """
        return AgentState(
            self._driver_of(namespace),
            kind,
            namespace,
            key=key,
            factory=factory,
            migrations=migrations,
            history=history,
            lease=lease,
            timeout=timeout,
        )

    def events(
        self,
        *,
        retention: timedelta | None = timedelta(hours=24),
        max_count: int | None = None,
        acknowledged: bool = False,
        consumer_ttl: timedelta = timedelta(days=7),
        prune_interval: timedelta | None = timedelta(minutes=5),
        poll: float = 0.5,
        namespace: str | None = None,
    ) -> EventQueue:
        """Return an event queue: `async with persistence.events() as queue: ...`; see `EventQueue` for the arguments."""
        return EventQueue(
            self.driver,
            retention=retention,
            max_count=max_count,
            acknowledged=acknowledged,
            consumer_ttl=consumer_ttl,
            prune_interval=prune_interval,
            poll=poll,
            namespace=namespace,
        )

    def work(
        self,
        name: str,
        *,
        group: str = "default",
        lease: float | timedelta = timedelta(seconds=30),
        max_attempts: int = 5,
        poll: float = 0.5,
    ) -> WorkQueue:
        """Return a queue of jobs, each done by one worker of a group, without I/O. See `WorkQueue`.

        A claimed job comes back after `lease` (seconds) unless its worker renews it, and is a dead letter after
        `max_attempts`. A waiting worker checks every `poll` seconds whether a job came back.
        """
        return WorkQueue(
            self.driver,
            name,
            group=group,
            lease=lease,
            max_attempts=max_attempts,
            poll=poll,
            wakeups=self._work_wakeups,
        )

    def _driver_of(self, namespace: str) -> Driver:
        """Return the driver of a namespace: here, the same one for all."""
        return self.driver

    def _driver_of_tree(self) -> Driver:
        """Return the driver of all namespaces that form a tree."""
        return self.driver

    async def health(self) -> Health:
        """Check that the backend responds, for a readiness probe. Raises `UnavailableError`."""
        return await self.driver.health()

    async def purge(self) -> int:
        """Delete what has expired; return how many items. Any process can call this at any time."""
        return await self.approvals.purge() + await self.driver.purge()

    async def collect_garbage(self) -> int:
        """Free what nothing references any more; return how many items. Any process can call this at any time.

        This includes what deleted threads and logs left behind, chunks that nothing refers to, and jobs that every
        group of their queue has claimed.
        """
        freed = await self.threads.finish_deletions() + await collect_garbage(self.driver)
        return freed + await collect_jobs(self.driver)

    async def prune(self, policies: RetentionPolicies) -> RetentionReport:
        """Delete what the policies do not keep; return how much. Safe during writes, in constant memory.

        Any process may call it, at any time; `upkeep` does so automatically. Not atomic: if it fails, call it again.
        """
        if not isinstance(policies, RetentionPolicies):
            raise ConfigurationError(f"policies must be RetentionPolicies, not {type(policies).__name__}")
        driver = self.driver
        stores = {namespace: self.kv(object, namespace) for namespace in policies.kv}
        now = await backend_now_ms(driver)
        removed: dict[str, int] = {}
        for kind, records in (("containers", self.containers), ("images", self.images), ("sessions", self.sessions)):
            retention: Retention | None = getattr(policies, kind)
            if retention is not None:
                removed[kind] = await prune_records(driver, records.retained, retention, now)
        if policies.messages is not None:
            removed["messages"] = await prune_entries(driver, self.sessions.retained, policies.messages, now)
        if policies.history is not None:
            removed["history"] = await prune_history(driver, policies.history, now)
        if (keep := policies.checkpoint_threads) is not None:
            removed["checkpoint_threads"] = await prune_threads(driver, keep.cutoff(now), keep.max_count)
        if (keep := policies.checkpoints) is not None:
            removed["checkpoints"] = await prune_all(driver, keep.max_count, keep.max_age)
        kv = {each: await prune_kv(driver, store.base, policies.kv[each], now) for each, store in stores.items()}
        return RetentionReport(**removed, kv=kv)

    def upkeep(self, policies: RetentionPolicies | None = None, *, every: timedelta = timedelta(minutes=5)) -> Upkeep:
        """Call `purge`, `collect_garbage` and `prune(policies)` in the background: `async with persistence.upkeep(): ...`

        Every process may run one; only one does the work at a time.
        """

        async def work() -> None:
            await self.purge()
            await self.collect_garbage()
            if policies is not None:
                await self.prune(policies)

        return Upkeep(self.driver, work, every)

    async def aclose(self) -> None:
        """Wait for calls under way, then close. A driver that the application opened itself stays open."""
        await run_to_end(self._close())

    async def _close(self) -> None:
        ensure_owner(self._driver)
        await self._work_wakeups.close()
        await self._driver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
