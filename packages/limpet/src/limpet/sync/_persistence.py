"""All stores of an agent's data, without `await`. Written by scripts/generate_sync.py: change the asynchronous API, and write it anew."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar, overload

from ..driver import Health
from ..stores import Persistence as AsyncPersistence
from ..stores import RetentionPolicies, RetentionReport
from ..structures import Migrations
from ._approvals import ApprovalStore
from ._checkpoints import CheckpointStore
from ._conversations import ContainerRepository, ImageRepository, SessionRepository
from ._driver import Driver
from ._events import EventQueue
from ._face import Root
from ._jobs import WorkQueue
from ._records import AgentState, KeyValueStore, KeyValueTree
from ._storage import BlobStore
from ._threads import FeedbackStore, ThreadStore
from ._upkeep import Upkeep

__all__ = ["Persistence"]

V = TypeVar("V")


class Persistence(Root[AsyncPersistence]):
    """All stores, each as an attribute or a method. Created by `create_persistence`; close it, or use `with`."""

    @cached_property
    def approvals(self) -> ApprovalStore:
        """Approvals."""
        return ApprovalStore(self._portal, self._inner.approvals)

    @cached_property
    def blobs(self) -> BlobStore:
        """Bytes of any length."""
        return BlobStore(self._portal, self._inner.blobs)

    @cached_property
    def checkpoints(self) -> CheckpointStore:
        """Checkpoints of threads."""
        return CheckpointStore(self._portal, self._inner.checkpoints)

    @cached_property
    def containers(self) -> ContainerRepository:
        """AgentX's containers."""
        return ContainerRepository(self._portal, self._inner.containers)

    @cached_property
    def feedback(self) -> FeedbackStore:
        """Feedback on threads and their messages."""
        return FeedbackStore(self._portal, self._inner.feedback)

    @cached_property
    def images(self) -> ImageRepository:
        """AgentX's images."""
        return ImageRepository(self._portal, self._inner.images)

    @cached_property
    def sessions(self) -> SessionRepository:
        """Sessions with their messages."""
        return SessionRepository(self._portal, self._inner.sessions)

    @cached_property
    def threads(self) -> ThreadStore:
        """Threads with their messages."""
        return ThreadStore(self._portal, self._inner.threads)

    @property
    def driver(self) -> Driver:
        """The open driver, for your own structures (`limpet.structures`)."""
        return Driver(self._portal, self._inner.driver)

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
        return KeyValueStore(self._portal, self._inner.kv(kind, namespace, migrations=migrations))

    @overload
    def kv_tree(self, kind: type[V], *, migrations: Migrations | None = None) -> KeyValueTree[V]: ...

    @overload
    def kv_tree(self, kind: Any, *, migrations: Migrations | None = None) -> KeyValueTree[Any]: ...

    def kv_tree(self, kind: Any, *, migrations: Migrations | None = None) -> KeyValueTree[Any]:
        """Return the values of one type in all namespaces that are tuples of labels, without I/O."""
        return KeyValueTree(self._portal, self._inner.kv_tree(kind, migrations=migrations))

    def get_kv_store(self, model_cls: type[V], namespace: str) -> KeyValueStore[V]:
        """`kv` in Naylence's spelling."""
        return KeyValueStore(self._portal, self._call(self._inner.get_kv_store, model_cls, namespace))

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
        """Return a state of type `kind`, which only one thread at a time can change, without I/O. See `AgentState`.

        A namespace may be any text. Records (`kv`) of the same namespace are kept apart.
        """
        return AgentState(
            self._portal,
            self._inner.state(
                kind,
                namespace,
                key=key,
                factory=factory,
                migrations=migrations,
                history=history,
                lease=lease,
                timeout=timeout,
            ),
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
        """Return an event queue: `with persistence.events() as queue: ...`; see `EventQueue` for the arguments."""
        return EventQueue(
            self._portal,
            self._inner.events(
                retention=retention,
                max_count=max_count,
                acknowledged=acknowledged,
                consumer_ttl=consumer_ttl,
                prune_interval=prune_interval,
                poll=poll,
                namespace=namespace,
            ),
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
            self._portal, self._inner.work(name, group=group, lease=lease, max_attempts=max_attempts, poll=poll)
        )

    def health(self) -> Health:
        """Check that the backend responds, for a readiness probe. Raises `UnavailableError`."""
        return self._call(self._inner.health)

    def purge(self) -> int:
        """Delete what has expired; return how many items. Any process can call this at any time."""
        return self._call(self._inner.purge)

    def collect_garbage(self) -> int:
        """Free what nothing references any more; return how many items. Any process can call this at any time.

        This includes what deleted threads and logs left behind, chunks that nothing refers to, and jobs that every
        group of their queue has claimed.
        """
        return self._call(self._inner.collect_garbage)

    def prune(self, policies: RetentionPolicies) -> RetentionReport:
        """Delete what the policies do not keep; return how much. Safe during writes, in constant memory.

        Any process may call it, at any time; `upkeep` does so automatically. Not atomic: if it fails, call it again.
        """
        return self._call(self._inner.prune, policies)

    def upkeep(self, policies: RetentionPolicies | None = None, *, every: timedelta = timedelta(minutes=5)) -> Upkeep:
        """Call `purge`, `collect_garbage` and `prune(policies)` in the background: `with persistence.upkeep(): ...`

        Every process may run one; only one does the work at a time.
        """
        return Upkeep(self._portal, self._inner.upkeep(policies, every=every))
