"""Events and jobs. For this floor; the public doors are `limpet.stores` and `limpet.events`."""

from ._events import Event, EventQueue, Recovered
from ._jobs import DeadLetter, Job, WorkQueue, collect_jobs, work_wakeups

__all__ = [
    "DeadLetter",
    "Event",
    "EventQueue",
    "Job",
    "Recovered",
    "WorkQueue",
    "collect_jobs",
    "work_wakeups",
]
