"""Splitting a value into parts, so that what two values share is stored once."""

from __future__ import annotations

from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, TypeAlias

from pydantic_core import from_json, to_json

from ..._errors import CorruptDataError, InvalidValueError
from ..._json import check_plain
from ..._secrets import raise_alone
from ...driver import Value

__all__ = ["Node", "assemble", "needed", "take_apart"]

Node: TypeAlias = dict[str, Any]
"""What stands for a value: `v` the value itself, `x` short bytes, `p` or `b` the digest of a part that is JSON or bytes,
`d` an object of nodes, `l` with `t` a list: the digests of its full groups, and the nodes of the rest."""

_SHORT = 200
"""Bytes of JSON up to which a value stands where it is."""
_GROUP = 16
"""Elements of a long list that make one part, once there are so many."""
_DEEP = 6


def take_apart(value: Any, parts: dict[str, Value], what: str = "the checkpoint") -> Node:
    """The node of a value; what it refers to is put into `parts`, by digest.

    Raises `InvalidValueError` for what is not plain JSON and bytes, and `TooLargeError`.
    """
    check_plain(value, what, binary=True)
    with_bytes: set[int] = set()
    _look_through(value, with_bytes)
    return _take_apart(value, parts, with_bytes, 0)


def _take_apart(value: Any, parts: dict[str, Value], with_bytes: set[int], depth: int) -> Node:
    if isinstance(value, bytes):
        return {"x": b64encode(value).decode()} if len(value) <= _SHORT else {"b": _add(value, parts)}
    if id(value) not in with_bytes:
        if _may_be_short(value) and len(_json(value)) <= _SHORT:
            return {"v": value}
        if depth >= _DEEP or not isinstance(value, dict | list):
            return {"p": _add(_json(value), parts)}
    if isinstance(value, dict):
        return {"d": {name: _take_apart(each, parts, with_bytes, depth + 1) for name, each in value.items()}}
    assert isinstance(value, list | tuple)
    full = 0 if id(value) in with_bytes else len(value) // _GROUP * _GROUP
    groups = [_add(_json(list(value[at : at + _GROUP])), parts) for at in range(0, full, _GROUP)]
    return {"l": groups, "t": [_take_apart(each, parts, with_bytes, depth + 1) for each in value[full:]]}


def needed(node: Node) -> Iterator[str]:
    """The digests that a node refers to."""
    match node:
        case {"p": str(digest)} | {"b": str(digest)}:
            yield digest
        case {"d": dict(nodes)}:
            for each in nodes.values():
                yield from needed(each)
        case {"l": list(groups), "t": list(rest)}:
            yield from groups
            for each in rest:
                yield from needed(each)


def assemble(node: Node, parts: Mapping[str, Value]) -> Any:
    """The value that a node stands for. Raises `CorruptDataError` where a part is missing."""
    try:
        match node:
            case {"v": value}:
                return value
            case {"x": str(written)}:
                return b64decode(written)
            case {"p": str(digest)}:
                return from_json(parts[digest])
            case {"b": str(digest)}:
                return parts[digest]
            case {"d": dict(nodes)}:
                return {name: assemble(each, parts) for name, each in nodes.items()}
            case {"l": list(groups), "t": list(rest)}:
                found: list[Any] = []
                for digest in groups:
                    found += from_json(parts[digest])
                return [*found, *(assemble(each, parts) for each in rest)]
    except (KeyError, ValueError) as error:
        raise CorruptDataError(f"a part of a checkpoint is missing or damaged: {error}") from error
    raise CorruptDataError("a part of a checkpoint cannot be read")


def _add(value: Value, parts: dict[str, Value]) -> str:
    data = value.encode() if isinstance(value, str) else b"\0" + value
    digest = urlsafe_b64encode(sha256(data).digest())[:27].decode()
    parts[digest] = value
    return digest


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
    elif isinstance(value, (list, tuple)):
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
    if isinstance(value, list | tuple):
        return len(value) <= _SHORT and all(map(_may_be_short, value))
    return True
