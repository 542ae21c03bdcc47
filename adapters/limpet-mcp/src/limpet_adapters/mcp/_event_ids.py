"""The ids of events, which clients give back as `Last-Event-ID`."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

__all__ = ["EventPosition"]

_LONGEST = 200
"""Bytes of a stream's name that an id contains as they are: it has to fit into a header. Of a longer one, it has a digest."""
_EVENT_ID = re.compile(r"([0-9a-f]{32})\.([0-9]{1,16})\.([=~])([A-Za-z0-9_-]{0,400})", re.ASCII)


@dataclass(frozen=True, slots=True)
class EventPosition:
    """What the id of an event says: its session, its number there, and its stream."""

    session: str
    """32 random hexadecimal digits."""
    number: int
    name: str
    """`=` and the stream's id in Base64, or `~` and a digest of it."""

    @classmethod
    def of(cls, session: str, number: int, stream: str) -> Self:
        """The position of an event."""
        return cls(session, number, _name_of(stream))

    @classmethod
    def parse(cls, event_id: str) -> Self | None:
        """The position that an id names; `None` for what is no such id."""
        found = _EVENT_ID.fullmatch(event_id)
        return None if found is None else cls(found[1], int(found[2]), found[3] + found[4])

    def is_on(self, stream: str) -> bool:
        """Whether the event is one of this stream."""
        return self.name == _name_of(stream)

    @property
    def stream(self) -> str | None:
        """The stream's id; `None` where the name is a digest, or none of ours."""
        if self.name.startswith("~"):
            return None
        encoded = self.name[1:]
        try:
            stream = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        except ValueError:
            return None
        return stream if self.is_on(stream) else None

    def __str__(self) -> str:
        return f"{self.session}.{self.number}.{self.name}"


def _name_of(stream: str) -> str:
    raw = stream.encode(errors="surrogatepass")
    if len(raw) <= _LONGEST:
        return "=" + urlsafe_b64encode(raw).decode().rstrip("=")
    return "~" + urlsafe_b64encode(sha256(raw).digest()).decode().rstrip("=")
