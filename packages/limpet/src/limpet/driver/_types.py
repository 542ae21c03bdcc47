"""What the three verbs take and return."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from os import urandom
from typing import Final, Literal, NewType, TypeAlias

__all__ = [
    "KEEP",
    "Append",
    "Batch",
    "Check",
    "Delete",
    "Etag",
    "Health",
    "If",
    "Item",
    "Key",
    "Outcome",
    "Page",
    "Put",
]
__all__ += ["Range", "Unit", "Value", "Write", "new_etag"]

Key: TypeAlias = str
"""An encoded key: segments joined by `!` (see `limpet.driver.key`)."""

Value: TypeAlias = str | bytes

Etag = NewType("Etag", str)
"""The version of an item: 22 characters of `A-Z a-z 0-9 _ -`, made by the writer, never used twice."""


_URLSAFE = bytes.maketrans(b"+/", b"-_")


def new_etag() -> Etag:
    """A fresh etag from the system's random source, so also after a fork."""
    return Etag(b2a_base64(urandom(16), newline=False)[:22].translate(_URLSAFE).decode())


class If(Enum):
    """A condition on an item that does not name its etag."""

    ABSENT = "absent"
    PRESENT = "present"


class _Keep(Enum):
    KEEP = "keep"


KEEP: Final = _Keep.KEEP
"""As a `ttl_ms`: keep the expiry that the item has now."""

Cond: TypeAlias = If | Etag
Keep: TypeAlias = Literal[_Keep.KEEP]


@dataclass(frozen=True, slots=True)
class Item:
    """What a driver holds at a key."""

    key: Key
    value: Value | None = field(repr=False)
    """Exactly as it was put; `None` where the caller asked for no values. Not in the `repr`, which ends up in logs."""
    etag: Etag
    updated_at: int
    """Milliseconds since 1970 by the backend's clock."""
    ttl_ms: int | None = None
    """Milliseconds left until it expires, at least 1; `None`: it does not."""


@dataclass(frozen=True, slots=True)
class Put:
    """Store a value. A plain Put replaces everything, the expiry too."""

    key: Key
    value: Value = field(repr=False)
    cond: Cond | None = None
    ttl_ms: int | Keep | None = None
    etag: Etag = field(default_factory=new_etag)


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove an item; of an absent key: nothing, unless `cond` asks for something."""

    key: Key
    cond: Literal[If.PRESENT] | Etag | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Refuse the batch unless the item is there, or has this etag. (Absence is asked by a `Put`.)"""

    key: Key
    cond: Literal[If.PRESENT] | Etag = If.PRESENT


Write: TypeAlias = Put | Delete | Check
Batch: TypeAlias = Sequence[Write]
"""Applied whole or not at all. A key occurs once."""


@dataclass(frozen=True, slots=True)
class Append:
    """Give the next numbers of a log to `puts`, in order, and store each at `put.key!<number>`.

    The item at `log` holds the next number in decimal digits. All of it happens only while `check` holds.
    A put's own condition must be `None`.
    """

    log: Key
    puts: tuple[Put, ...]
    check: Check


Unit: TypeAlias = Batch | Append
"""What `commit` applies whole or not at all."""

Outcome: TypeAlias = int | Exception | None
"""What became of a unit: `None` for an applied batch, the first number that an `Append` was given, or the error."""


@dataclass(frozen=True, slots=True)
class Range:
    """The items below `base` where `after < key < before`, in key order."""

    base: Key = ""
    """All of its descendants, not `base` itself; `""` stands for everything."""
    after: Key | None = None
    before: Key | None = None
    reverse: bool = False
    limit: int = 100
    """Items in one page at most; a page never holds more than 1,000."""
    values: bool = True
    """Whether the items come with their values."""

    def beyond(self, page: Page) -> Range | None:
        """What is left after a page of this range; `None` at the end."""
        if page.next is None:
            return None
        return replace(self, before=page.next) if self.reverse else replace(self, after=page.next)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a scan."""

    items: Sequence[Item]
    """In key order, or in reverse key order. May be fewer than asked, or none."""
    next: Key | None
    """The last key examined: pass it as `after` (in reverse as `before`). Only `None` is the end."""


@dataclass(frozen=True, slots=True)
class Health:
    """What a backend says of itself."""

    server: str
    """The product, e.g. `SQLite`."""
    version: str
    clock_ms: int | None
    """Milliseconds since 1970 by the backend's clock; `None` where only a write can tell (`health(probe=True)`)."""
    problems: tuple[str, ...] = ()
    """What an operator should know, each with what to do."""
    details: dict[str, str] = field(default_factory=dict)
    """Free facts for a human: the file, the journal mode, the size."""
