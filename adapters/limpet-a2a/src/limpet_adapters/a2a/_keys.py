"""Where tasks are, and by which keys they are listed."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from limpet import InvalidValueError
from limpet.driver import Key, key, name, number, text

from a2a.types.a2a_pb2 import ListTasksRequest, Task

__all__ = ["below", "entries", "place_of", "since", "task_key", "time_of"]

_TASKS = name("a2a.tasks")
_LISTED = name("a2a.tasks.by")
_OWNER, _CONTEXT, _STATE, _BOTH = map(name, ("owner", "context", "state", "context-state"))
_NANOSECONDS = 10**9
_YEAR_ONE = 62_135_596_800
"""Seconds from the first instant that a protobuf timestamp can name until 1970."""
_ALL_YEARS = 315_537_897_600
"""Seconds from there to the end of the year 9999, the last one."""


def task_key(owner: str, task_id: str) -> Key:
    """Where a task is stored."""
    return key(_TASKS, text(owner), text(task_id))


def below(owner: str, params: ListTasksRequest) -> Key:
    """The key that the tasks which a request asks for are listed below, the oldest first."""
    match bool(params.context_id), bool(params.status):
        case True, True:
            return key(_LISTED, text(owner), _BOTH, text(params.context_id), number(params.status))
        case True, False:
            return key(_LISTED, text(owner), _CONTEXT, text(params.context_id))
        case False, True:
            return key(_LISTED, text(owner), _STATE, number(params.status))
        case _:
            return key(_LISTED, text(owner), _OWNER)


def entries(owner: str, task: Task) -> set[Key]:
    """The keys that a task is listed at: one for each combination of filters that finds it."""
    wanted = [ListTasksRequest()]
    if task.context_id:
        wanted.append(ListTasksRequest(context_id=task.context_id))
    if task.status.state:
        wanted += [_with_status(each, task) for each in wanted]
    return {place_of(below(owner, each), time_of(task), task.id) for each in wanted}


def time_of(task: Task) -> int | None:
    """When its status changed, in nanoseconds since 1970; `None` if it does not say."""
    return _nanoseconds(task.status.timestamp) if task.status.HasField("timestamp") else None


def place_of(base: Key, timestamp_ns: int | None, task_id: str) -> Key:
    """Where a task of this time is listed below `base`: tasks without a time come first, so last in a list from the newest."""
    return key(base, *_moment(timestamp_ns), text(task_id))


def since(base: Key, timestamp: Timestamp) -> Key:
    """What comes directly before all tasks of this time and later."""
    return key(base, *_moment(_nanoseconds(timestamp)))


def _nanoseconds(timestamp: Timestamp) -> int:
    return int(timestamp.seconds * _NANOSECONDS + timestamp.nanos)


def _moment(timestamp_ns: int | None) -> tuple[str, str]:
    if timestamp_ns is None:
        return number(0), number(0)
    seconds, nanoseconds = divmod(timestamp_ns, _NANOSECONDS)
    if not 0 <= seconds + _YEAR_ONE < _ALL_YEARS:
        raise InvalidValueError(f"a timestamp is {seconds} seconds after 1970: it must be in the years 1 to 9999")
    return number(seconds + _YEAR_ONE + 1), number(nanoseconds)


def _with_status(params: ListTasksRequest, task: Task) -> ListTasksRequest:
    return ListTasksRequest(context_id=params.context_id, status=task.status.state)
