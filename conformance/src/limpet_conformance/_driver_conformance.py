"""The suite: all sections, and the guard that notices if a test was removed."""

from __future__ import annotations

from ._guard import Guarded
from .sections.appending import Appending
from .sections.batches import Batches
from .sections.clients import Clients
from .sections.crashes import Crashes
from .sections.etags import Etags
from .sections.expiry import Expiry
from .sections.format import Format
from .sections.grouping import Grouping
from .sections.keys import Keys
from .sections.lifecycle import Lifecycle
from .sections.limits import Limits
from .sections.lost_answers import LostAnswers
from .sections.races import Races
from .sections.reading import Reading
from .sections.sequences import Sequences
from .sections.structures import Structures
from .sections.values import Values
from .sections.watching import Watching

__all__ = ["DriverConformance"]


class DriverConformance(
    Batches,
    Races,
    LostAnswers,
    Crashes,
    Limits,
    Etags,
    Expiry,
    Keys,
    Values,
    Reading,
    Watching,
    Grouping,
    Appending,
    Sequences,
    Structures,
    Format,
    Clients,
    Lifecycle,
    Guarded,
):
    """Every clause of the driver contract, as tests of one driver.

        class TestMyDriver(DriverConformance):
            capabilities = MyDriver.capabilities

            @asynccontextmanager
            async def place(self):
                with TemporaryDirectory() as folder:
                    yield f"mydb://{folder}/data"

    Each test runs in its own event loop: no asyncio settings are required, and none interfere.
    """
