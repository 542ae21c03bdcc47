"""Splitting a value into parts, so that what two values share is stored once."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Protocol, TypeAlias

from pydantic_core import from_json, to_json

from ..._errors import CorruptDataError, InvalidValueError
from ..._json import check_plain
from ..._secrets import raise_alone
from ...driver import Value
from ._threads import Ref

__all__ = ["Node", "PartStore", "assemble", "digest_of", "needed", "take_apart"]

Node: TypeAlias = dict[str, Any]
"""What stands for a value: `v` the value itself, `x` short bytes, `p` the writer and number of a part that holds it,
`d` an object of nodes, `l` with `t` a list: the parts with its full chunks as `[writer, first, end]`, and the nodes of the rest.

A part is JSON text, of a value or of the list of a chunk's elements; or bytes: a zero and bytes as they are, or a one, four
bytes for the length of a header, the header, and the bytes that occur in the value, one after the other."""

_SHORT = 256
"""Bytes of JSON up to which a value stands where it is, and at which a chunk of a list closes."""
_DEEP = 6
_MOST_PARTS = 2_000_000
_RAW, _MIXED = b"\0", b"\1"


class PartStore(Protocol):
    """Where parts go."""

    def add(self, stream: str, value: Value) -> Ref:
        """Where a part is stored, or will be. Those of one stream have consecutive numbers, as far as they are new."""
        ...


def take_apart(value: Any, parts: PartStore, stream: str, what: str = "the checkpoint") -> Node:
    """The node of a value; what it refers to is given to `parts`.

    Raises `InvalidValueError` for what is not plain JSON and bytes, and `TooLargeError`.
    """
    check_plain(value, what, binary=True)
    with_bytes: set[int] = set()
    _look_through(value, with_bytes)
    return _Splitter(parts, with_bytes).node(value, stream, 0)


class _Splitter:
    def __init__(self, parts: PartStore, with_bytes: set[int]) -> None:
        self._parts = parts
        self._with_bytes = with_bytes
        """The ids of dicts and lists with bytes somewhere in them."""

    def node(self, value: Any, stream: str, depth: int) -> Node:
        if isinstance(value, bytes):
            return {"x": b64encode(value).decode()} if len(value) <= _SHORT else self._part(stream, _RAW + value)
        if not self._has_bytes(value) and _may_be_short(value) and len(_json(value)) <= _SHORT:
            return {"v": value}
        if isinstance(value, list):
            return self._list(value, stream, depth)
        if isinstance(value, dict) and depth < _DEEP:
            return {"d": {name: self.node(each, name, depth + 1) for name, each in value.items()}}
        return self._part(stream, self._written(value))

    def _part(self, stream: str, value: Value) -> Node:
        return {"p": self._parts.add(f"{stream} ", value)}

    def _list(self, value: Sequence[Any], stream: str, depth: int) -> Node:
        ranges: list[list[int]] = []
        chunk: list[Any] = []
        pieces: list[Value] = []
        size = 0
        for each in value:
            piece = _RAW + each if isinstance(each, bytes) else self._written(each)
            chunk.append(each)
            pieces.append(piece)
            size += len(piece)
            if size >= _SHORT:
                writer, at = self._parts.add(stream, self._chunk(chunk, pieces))
                if ranges and ranges[-1][0] == writer and ranges[-1][2] == at:
                    ranges[-1][2] += 1
                else:
                    ranges.append([writer, at, at + 1])
                chunk, pieces, size = [], [], 0
        return {"l": ranges, "t": [self.node(each, stream, depth + 1) for each in chunk]}

    def _chunk(self, elements: list[Any], pieces: Sequence[Value]) -> Value:
        texts = [piece for piece in pieces if isinstance(piece, str)]
        if len(texts) == len(pieces):
            return f"[{','.join(texts)}]"
        if len(elements) == 1 and isinstance(elements[0], bytes):
            return pieces[0]
        return _mixed(elements)

    def _has_bytes(self, value: Any) -> bool:
        return isinstance(value, bytes) or id(value) in self._with_bytes

    def _written(self, value: Any) -> Value:
        return _mixed(value) if self._has_bytes(value) else _json(value)


def needed(node: Node) -> Iterator[Ref]:
    """The parts that a node refers to. Raises `CorruptDataError`."""
    match node:
        case {"p": [int(writer), int(at)]} if _is_part(writer, at):
            yield writer, at
        case {"d": dict(nodes)}:
            for each in nodes.values():
                yield from needed(each)
        case {"l": list(ranges), "t": list(rest)}:
            for each in ranges:
                for at in _range_of(each):
                    yield each[0], at
            for each in rest:
                yield from needed(each)
        case {"v": _} | {"x": str()}:
            pass
        case _:
            raise CorruptDataError("a part of a checkpoint cannot be read")


def assemble(node: Node, parts: Mapping[Ref, Value]) -> Any:
    """The value that a node stands for. Raises `CorruptDataError` where a part is missing."""
    try:
        match node:
            case {"v": value}:
                return value
            case {"x": str(written)}:
                return b64decode(written, validate=True)
            case {"p": [int(writer), int(at)]}:
                return _whole(parts[writer, at])
            case {"d": dict(nodes)}:
                return {name: assemble(each, parts) for name, each in nodes.items()}
            case {"l": list(ranges), "t": list(rest)}:
                chunks = (parts[each[0], at] for each in ranges for at in _range_of(each))
                return [*_elements(chunks), *(assemble(each, parts) for each in rest)]
    except KeyError as error:
        raise CorruptDataError(f"a part of a checkpoint is missing: {error}") from error
    except (ValueError, TypeError, IndexError) as error:
        raise CorruptDataError(f"a part of a checkpoint is damaged: {error}") from error
    raise CorruptDataError("a part of a checkpoint cannot be read")


def _elements(chunks: Iterable[Value]) -> Iterator[Any]:
    """The elements in the chunks of a list. Texts that follow each other are parsed as one, which is faster."""
    texts: list[str] = []
    for chunk in chunks:
        if isinstance(chunk, str):
            if not (len(chunk) > 2 and chunk[0] == "[" and chunk[-1] == "]"):
                raise ValueError("a chunk is not a list of elements")
            texts.append(chunk[1:-1])
            continue
        if texts:
            yield from from_json(f"[{','.join(texts)}]")
            texts = []
        if chunk[:1] == _RAW:
            yield chunk[1:]
        else:
            yield from _whole(chunk)
    if texts:
        yield from from_json(f"[{','.join(texts)}]")


def digest_of(value: Value) -> bytes:
    """What a part is recognised by."""
    return blake2b(value.encode() if isinstance(value, str) else b"\xff" + value, digest_size=16).digest()


def _is_part(writer: int, at: int) -> bool:
    return 0 <= writer < 10**16 and 0 <= at < 10**16


def _range_of(written: Any) -> range:
    match written:
        case [int(writer), int(first), int(end)] if _is_part(writer, first) and first < end <= first + _MOST_PARTS:
            return range(first, end)
    raise CorruptDataError("a part of a checkpoint cannot be read")


def _mixed(value: Any) -> bytes:
    """A value with bytes in it: JSON in which they are null, where they belong, and then they themselves."""
    found: list[tuple[list[str | int], bytes]] = []
    bare = _without_bytes(value, [], found)
    header = _json({"b": [[path, len(each)] for path, each in found], "v": bare}).encode()
    return b"".join([_MIXED, len(header).to_bytes(4), header, *(each for _, each in found)])


def _without_bytes(value: Any, path: list[str | int], found: list[tuple[list[str | int], bytes]]) -> Any:
    if isinstance(value, bytes):
        found.append((path, value))
        return None
    if isinstance(value, dict):
        return {name: _without_bytes(each, [*path, name], found) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_bytes(each, [*path, at], found) for at, each in enumerate(value)]
    return value


def _whole(part: Value) -> Any:
    if isinstance(part, str):
        return from_json(part)
    if part[:1] == _RAW:
        return part[1:]
    if part[:1] != _MIXED:
        raise ValueError("it is of no known kind")
    at = 5 + int.from_bytes(part[1:5])
    header = from_json(part[5:at])
    value = header["v"]
    for path, length in header["b"]:
        if not 0 <= length <= len(part) - at:
            raise ValueError("it ends early")
        piece, at = part[at : at + length], at + length
        if not path:
            return piece
        *above, last = path
        inner = value
        for each in above:
            inner = inner[each]
        inner[last] = piece
    return value


def _json(value: Any) -> str:
    try:
        return to_json(value).decode()
    except ValueError as error:
        raise_alone(InvalidValueError(f"a checkpoint is JSON and bytes: {error}"))


def _look_through(value: Any, with_bytes: set[int]) -> bool:
    """Whether there are bytes somewhere in it; the ids of all dicts and lists of which this is so go into `with_bytes`."""
    found = False
    if isinstance(value, dict):
        for each in value.values():
            if type(each) is not str:  # most are, and a call costs more than to look
                found |= _look_through(each, with_bytes)
    elif isinstance(value, list):
        for each in value:
            if type(each) is not str:
                found |= _look_through(each, with_bytes)
    else:
        return isinstance(value, bytes)
    if found:
        with_bytes.add(id(value))
    return found


def _may_be_short(value: Any) -> bool:
    """Whether it is worth while to write it as JSON to see."""
    if isinstance(value, str):
        return len(value) <= _SHORT
    if isinstance(value, dict):
        return len(value) <= _SHORT and all(map(_may_be_short, value.values()))
    if isinstance(value, list):
        return len(value) <= _SHORT and all(map(_may_be_short, value))
    return True
