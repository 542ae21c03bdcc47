"""Events and jobs. Internal to this floor; import from `limpet.stores` and `limpet.events`."""

from ._event_documents import Event, Recovered
from ._events import EventQueue
from ._job_documents import DeadLetter
from ._jobs import Job, WorkQueue, collect_jobs, work_wakeups

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
