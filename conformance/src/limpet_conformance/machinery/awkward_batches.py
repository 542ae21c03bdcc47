"""A list of awkward batches, with the outcome that each must have, for every backend.

A driver that decides in SQL, in Lua or on a server is compared with the same list as `evaluate` in Python. `cases()`
returns batches, what is stored before each, which keys must fail, and what is stored after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from limpet.driver import KEEP, Check, Delete, Etag, If, Key, Put, Write, key, name, new_etag, number

from .model import Stored

__all__ = ["Case", "cases"]

HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class Case:
    """A batch, what is stored before it, and what its outcome must be. Cases have no key in common."""

    title: str
    before: dict[Key, Stored]
    batch: Sequence[Write]
    failed: frozenset[Key]
    """Every key whose condition does not hold; empty if the batch must be applied."""
    after: dict[Key, Stored]
    """What is stored afterwards; the same as `before` if the batch must be refused."""


def cases() -> list[Case]:
    """Return the list, with etags that were never used before."""
    return [_case(number(at), make) for at, make in enumerate(_MAKERS)]


class _Table:
    """Helpers for the functions below: names for the keys of one case, and the items stored before."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.before: dict[Key, Stored] = {}

    def at(self, letter: str) -> Key:
        return key(name("cases"), self.base, name(letter))

    def has(self, letter: str, value: str = "before", ttl_ms: int | None = None) -> Etag:
        etag = new_etag()
        self.before[self.at(letter)] = Stored(value, etag, ttl_ms)
        return etag


_Made = tuple[str, list[Write], str, dict[str, Stored | None]]
"""Title, batch, letters of the keys that fail, and what each written letter contains afterwards."""

_Maker = Callable[[_Table], _Made]
_MAKERS: list[_Maker] = []


def _awkward(make: _Maker) -> _Maker:
    _MAKERS.append(make)
    return make


def _case(base: str, make: _Maker) -> Case:
    table = _Table(base)
    title, batch, failing, changes = make(table)
    after = dict(table.before)
    for letter, stored in changes.items():
        if stored is None:
            after.pop(table.at(letter), None)
        else:
            after[table.at(letter)] = stored
    return Case(title, table.before, batch, frozenset(map(table.at, failing)), after)


@_awkward
def _put_on_nothing(t: _Table) -> _Made:
    put = Put(t.at("a"), "new")
    return "a put where nothing is", [put], "", {"a": Stored("new", put.etag)}


@_awkward
def _put_on_something(t: _Table) -> _Made:
    t.has("a")
    put = Put(t.at("a"), "new")
    return "a put on something", [put], "", {"a": Stored("new", put.etag)}


@_awkward
def _absent_on_nothing(t: _Table) -> _Made:
    put = Put(t.at("a"), "new", If.ABSENT)
    return "a put if absent, and it is", [put], "", {"a": Stored("new", put.etag)}


@_awkward
def _absent_on_something(t: _Table) -> _Made:
    t.has("a")
    return "a put if absent, and it is there", [Put(t.at("a"), "new", If.ABSENT)], "a", {}


@_awkward
def _present_on_something(t: _Table) -> _Made:
    t.has("a")
    put = Put(t.at("a"), "new", If.PRESENT)
    return "a put if present, and it is", [put], "", {"a": Stored("new", put.etag)}


@_awkward
def _present_on_nothing(t: _Table) -> _Made:
    return "a put if present, and it is absent", [Put(t.at("a"), "new", If.PRESENT)], "a", {}


@_awkward
def _etag_right(t: _Table) -> _Made:
    put = Put(t.at("a"), "new", t.has("a"))
    return "a put under the right etag", [put], "", {"a": Stored("new", put.etag)}


@_awkward
def _etag_wrong(t: _Table) -> _Made:
    t.has("a")
    return "a put under another etag", [Put(t.at("a"), "new", new_etag())], "a", {}


@_awkward
def _etag_on_nothing(t: _Table) -> _Made:
    return "a put under an etag where nothing is", [Put(t.at("a"), "new", new_etag())], "a", {}


@_awkward
def _etag_other_case(t: _Table) -> _Made:
    etag = Etag("aBcDeFgHiJ" + new_etag()[:11] + "k")
    t.before[t.at("a")] = Stored("before", etag)
    return "an etag in other letter case", [Put(t.at("a"), "new", Etag(etag.swapcase()))], "a", {}


@_awkward
def _etag_of_neighbour(t: _Table) -> _Made:
    t.has("a")
    return "the etag of another key", [Put(t.at("a"), "new", t.has("b"))], "a", {}


@_awkward
def _delete_nothing(t: _Table) -> _Made:
    return "a delete where nothing is", [Delete(t.at("a"))], "", {}


@_awkward
def _delete_something(t: _Table) -> _Made:
    t.has("a")
    return "a delete of something", [Delete(t.at("a"))], "", {"a": None}


@_awkward
def _delete_present_absent(t: _Table) -> _Made:
    return "a delete if present, and it is absent", [Delete(t.at("a"), If.PRESENT)], "a", {}


@_awkward
def _delete_present(t: _Table) -> _Made:
    t.has("a")
    return "a delete if present, and it is", [Delete(t.at("a"), If.PRESENT)], "", {"a": None}


@_awkward
def _delete_right(t: _Table) -> _Made:
    return "a delete under the right etag", [Delete(t.at("a"), t.has("a"))], "", {"a": None}


@_awkward
def _delete_wrong(t: _Table) -> _Made:
    t.has("a")
    return "a delete under another etag", [Delete(t.at("a"), new_etag())], "a", {}


@_awkward
def _check_alone_right(t: _Table) -> _Made:
    return "only a check, and it holds", [Check(t.at("a"), t.has("a"))], "", {}


@_awkward
def _check_alone_wrong(t: _Table) -> _Made:
    t.has("a")
    return "only a check, and it does not hold", [Check(t.at("a"), new_etag())], "a", {}


@_awkward
def _check_present(t: _Table) -> _Made:
    t.has("a")
    put = Put(t.at("b"), "new")
    return "a check for presence beside a put", [Check(t.at("a")), put], "", {"b": Stored("new", put.etag)}


@_awkward
def _check_absent(t: _Table) -> _Made:
    return "a check of an absent key beside a put", [Check(t.at("a")), Put(t.at("b"), "new")], "a", {}


@_awkward
def _check_last(t: _Table) -> _Made:
    t.has("b")
    batch: list[Write] = [Put(t.at("a"), "new"), Delete(t.at("b")), Check(t.at("c"))]
    return "a failing check behind writes", batch, "c", {}


@_awkward
def _check_etag_beside_delete(t: _Table) -> _Made:
    t.has("b")
    return "a check by etag beside a delete", [Check(t.at("a"), t.has("a")), Delete(t.at("b"))], "", {"b": None}


@_awkward
def _two_fail(t: _Table) -> _Made:
    t.has("a")
    batch: list[Write] = [Put(t.at("a"), "new", If.ABSENT), Put(t.at("b"), "new"), Delete(t.at("c"), If.PRESENT)]
    return "two conditions fail and a write between them has none", batch, "ac", {}


@_awkward
def _last_fails(t: _Table) -> _Made:
    t.has("c")
    batch: list[Write] = [Put(t.at("a"), "1"), Put(t.at("b"), "2"), Put(t.at("c"), "3", If.ABSENT)]
    return "the last of three fails", batch, "c", {}


@_awkward
def _against_the_state_before(t: _Table) -> _Made:
    put = Put(t.at("b"), "new", If.ABSENT)
    batch: list[Write] = [Delete(t.at("a"), t.has("a")), put]
    return "a move: delete under an etag, put if absent", batch, "", {"a": None, "b": Stored("new", put.etag)}


@_awkward
def _swap(t: _Table) -> _Made:
    puts = [Put(t.at("a"), "2", t.has("a", "1")), Put(t.at("b"), "1", t.has("b", "2"))]
    after: dict[str, Stored | None] = {"a": Stored("2", puts[0].etag), "b": Stored("1", puts[1].etag)}
    return "a swap under both etags", [*puts], "", after


@_awkward
def _out_of_key_order(t: _Table) -> _Made:
    puts = [Put(t.at(letter), letter, If.ABSENT) for letter in "dacb"]
    after: dict[str, Stored | None] = {
        letter: Stored(letter, put.etag) for letter, put in zip("dacb", puts, strict=True)
    }
    return "writes that do not come in key order", [*puts], "", after


@_awkward
def _delete_nothing_and_put(t: _Table) -> _Made:
    put = Put(t.at("b"), "new", If.ABSENT)
    return "a delete of nothing beside a put if absent", [Delete(t.at("a")), put], "", {"b": Stored("new", put.etag)}


@_awkward
def _delete_nothing_beside_failure(t: _Table) -> _Made:
    t.has("b")
    return "a delete of nothing beside a failure", [Delete(t.at("a")), Put(t.at("b"), "x", If.ABSENT)], "b", {}


@_awkward
def _ttl_replaced(t: _Table) -> _Made:
    t.has("a", ttl_ms=HOUR)
    put = Put(t.at("a"), "new")
    return "a plain put takes the expiry away", [put], "", {"a": Stored("new", put.etag)}


@_awkward
def _ttl_set(t: _Table) -> _Made:
    t.has("a")
    put = Put(t.at("a"), "new", ttl_ms=HOUR)
    return "a put gives an expiry", [put], "", {"a": Stored("new", put.etag, HOUR)}


@_awkward
def _ttl_kept(t: _Table) -> _Made:
    put = Put(t.at("a"), "new", t.has("a", ttl_ms=HOUR), KEEP)
    return "KEEP keeps the expiry", [put], "", {"a": Stored("new", put.etag, HOUR)}


@_awkward
def _ttl_kept_on_nothing(t: _Table) -> _Made:
    put = Put(t.at("a"), "new", ttl_ms=KEEP)
    return "KEEP where nothing is", [put], "", {"a": Stored("new", put.etag)}


@_awkward
def _ttl_kept_without(t: _Table) -> _Made:
    t.has("a")
    put = Put(t.at("a"), "new", If.PRESENT, KEEP)
    return "KEEP of an item that does not expire", [put], "", {"a": Stored("new", put.etag)}


@_awkward
def _ttl_refused(t: _Table) -> _Made:
    t.has("a", ttl_ms=HOUR)
    return "a refused put leaves the expiry", [Put(t.at("a"), "new", If.ABSENT)], "a", {}


@_awkward
def _own_etag(t: _Table) -> _Made:
    put = Put(t.at("a"), "mine", If.ABSENT)
    t.before[t.at("a")] = Stored("mine", put.etag)
    return "a put if absent that meets its own etag: it was applied before", [put], "", {}


@_awkward
def _own_etag_writes_nothing(t: _Table) -> _Made:
    put = Put(t.at("a"), "mine")
    t.before[t.at("a")] = Stored("mine", put.etag)
    t.has("b")
    batch: list[Write] = [put, Delete(t.at("b")), Put(t.at("c"), "gone since")]
    return "a batch that meets its own etag writes nothing at all", batch, "", {}


@_awkward
def _own_etag_among_failures(t: _Table) -> _Made:
    put = Put(t.at("b"), "mine")
    t.before[t.at("b")] = Stored("mine", put.etag)
    batch: list[Write] = [Put(t.at("a"), "new", new_etag()), put, Check(t.at("c"))]
    return "a batch that meets its own etag succeeds whatever changed since", batch, "", {}


@_awkward
def _same_value(t: _Table) -> _Made:
    t.has("a", "same")
    put = Put(t.at("a"), "same")
    return "the same value again still gets its own etag", [put], "", {"a": Stored("same", put.etag)}


@_awkward
def _empty_values(t: _Table) -> _Made:
    t.has("a", "")
    put = Put(t.at("b"), "", If.ABSENT)
    return "an empty value is a value", [Check(t.at("a")), put], "", {"b": Stored("", put.etag)}
