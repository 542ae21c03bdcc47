"""Values of one type in namespaces that form a tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

from ..._arguments import checked_arguments
from ..._errors import CorruptDataError, InvalidValueError
from ...driver import Delete, Driver, If, Item, Key, Put, Range, Write
from ...structures import KeysBelow, Listing, Migrations, Plan, ReadSet, scan_each, transact
from .._durations import ttl_to_ms
from ._entries import KeyValueEntry, NewEntry
from ._forms import RecordForm, codec_of, get_parts, readable
from ._key_value import KeyValueStore
from ._namespaces import base_of, checked_labels, checked_pairs, labels_of, namespaces_below, tree_key

__all__ = ["KeyValueTree"]

V = TypeVar("V")


@checked_arguments
class KeyValueTree(Generic[V]):
    """The values of one type in all namespaces that are tuples of labels, such as `("users", "u1", "memories")`.

    Creating the object does no I/O. `kv` returns the store of one namespace; the methods here are for several. A
    namespace exists as long as it has values. Labels are text of at least one character, 1 to 30 of them; together with
    a key, they fit in 1,024 bytes (`InvalidKeyError`), where each counts 200 bytes at most.
    """

    def __init__(self, driver: Driver, kind: type[V], *, migrations: Migrations | None = None) -> None:
        self._driver = driver
        self._kind = kind
        self._migrations = migrations
        self._codec = codec_of(kind, migrations)

    def kv(self, namespace: Sequence[str]) -> KeyValueStore[V]:
        """Return the store of one namespace, without I/O."""
        return KeyValueStore(self._driver, self._kind, checked_labels(namespace), migrations=self._migrations)

    async def get_entries(self, keys: Iterable[tuple[Sequence[str], str]]) -> list[KeyValueEntry[V] | None]:
        """Return an entry or `None` for each pair of a namespace and a key, in order. One driver call."""
        asked = [(self._form(namespace), key) for namespace, key in checked_pairs(keys)]
        items = await get_parts(self._driver, [form.at(key) for form, key in asked])
        return [None if item is None else form.entry(item, key) for (form, key), item in zip(asked, items, strict=True)]

    async def write(
        self, entries: Iterable[NewEntry[V]] = (), *, delete: Iterable[tuple[Sequence[str], str]] = ()
    ) -> None:
        """Store values, new or not, and delete others, given as pairs of a namespace and a key: all or nothing.

        Existing values keep their creation time, but not their expiry. Deleting what does not exist does nothing. Of
        several entries with one key, the last one counts, and deletions come first. Two driver calls. Raises
        `TooLargeError`, and writes nothing, for more than the driver accepts in one batch.
        """
        puts: dict[Key, tuple[RecordForm[V], str, str, int | None]] = {}
        writes: dict[Key, Write] = {}
        for namespace, key in checked_pairs(delete):
            at = self._form(namespace).at(key)
            writes[at] = Delete(at)
        for entry in entries:
            if not isinstance(entry, NewEntry):
                raise InvalidValueError(f"pass NewEntry(namespace, key, value), not {type(entry).__name__}")
            form = self._form(entry.namespace)
            at = form.at(entry.key)
            writes.pop(at, None)
            puts[at] = form, entry.key, form.dump(entry.value), ttl_to_ms(entry.ttl)

        def plan(reads: ReadSet) -> Plan[None]:
            return Plan([*(_put(at, reads[at], *puts[at]) for at in puts), *writes.values()], None)

        await transact(self._driver, puts, plan)

    async def touch(self, ttls: Mapping[tuple[tuple[str, ...], str], float | timedelta | None]) -> int:
        """Let values, given as pairs of a namespace and a key, expire that many seconds from now (`None`: never).

        Return how many there are. All or nothing; see `KeyValueStore.touch`.
        """
        asked = {
            (form := self._form(namespace)).at(key): (form, key, ttl_to_ms(ttl))
            for (namespace, key), ttl in zip(checked_pairs(ttls), ttls.values(), strict=True)
        }

        def plan(reads: ReadSet) -> Plan[int]:
            writes = [
                form.renewed(item, key, ttl_ms)
                for at, (form, key, ttl_ms) in asked.items()
                if (item := reads[at]) is not None
            ]
            return Plan(writes, len(writes))

        return await transact(self._driver, asked, plan)

    def entries(
        self, prefix: Sequence[str] = (), *, limit: int | None = None, cursor: str | None = None
    ) -> Listing[KeyValueEntry[V]]:
        """List the entries of the namespace `prefix` and of all namespaces below it, by namespace and then by key."""
        base = tree_key(checked_labels(prefix, "prefix", least=0))
        forms: dict[tuple[str, ...], RecordForm[V]] = {}

        def shown(item: Item) -> KeyValueEntry[V]:
            labels = labels_of(item)
            if labels not in forms:
                forms.clear()  # namespaces come one after the other
                forms[labels] = self._form(labels)
            return forms[labels].entry(item)

        async def fetch(
            position: str | None, count: int
        ) -> tuple[Sequence[KeyValueEntry[V] | CorruptDataError], str | None]:
            page = await scan_each(self._driver, Range(base, after=position, limit=count))
            return [readable(shown, item) for item in page.items], page.next

        return Listing([base, "tree"], fetch, limit=limit, cursor=cursor, positions=KeysBelow(base))

    def namespaces(
        self,
        prefix: Sequence[str] = (),
        *,
        suffix: Sequence[str] = (),
        max_depth: int | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Listing[tuple[str, ...]]:
        """List the namespaces that have values, start with `prefix` and end with `suffix`, in the order of their labels.

        `"*"` in `prefix` or `suffix` stands for any one label. `max_depth` is how many labels of each are returned;
        namespaces that become equal are returned once. Values are not read, and of each namespace at most 16 keys, in one
        driver call for each 16 namespaces or fewer.
        """
        start, end = (checked_labels(part, what, least=0) for part, what in ((prefix, "prefix"), (suffix, "suffix")))
        return namespaces_below(self._driver, start, end, max_depth, limit, cursor)

    async def clear(self, prefix: Sequence[str] = ()) -> int:
        """Delete all values in the namespace `prefix` and below it; return how many. Not atomic, safe to repeat."""
        return await self._driver.clear(tree_key(checked_labels(prefix, "prefix", least=0)))

    def _form(self, namespace: Sequence[str]) -> RecordForm[V]:
        labels = checked_labels(namespace)
        return RecordForm(self._codec, labels, (*labels, ""), base_of(labels))


def _put(at: Key, item: Item | None, form: RecordForm[V], key: str, dumped: str, ttl_ms: int | None) -> Put:
    cond = If.ABSENT if item is None else item.etag
    return Put(at, form.stored(key, dumped, form.times_to_keep(item)), cond, ttl_ms)
