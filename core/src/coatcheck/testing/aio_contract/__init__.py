"""
The contract for asyncio: the same promises under the same names, and those of cancellation.
"""

from __future__ import annotations

import pytest

from .batches import Batches
from .bells import Bells
from .bounds import Bounds
from .cancelled import Cancelled
from .chaos import Chaos
from .damage import Damage
from .errors import Errors
from .expiry import Expiry
from .forks import Forks
from .groups import Groups
from .ids import Ids
from .loops import Loops
from .modelled import Modelled
from .noticing import Noticing
from .races import Races
from .reading import Reading
from .reconnecting import Reconnecting
from .resources import Resources
from .running import Running
from .scanning import Scanning
from .sealed import Sealed
from .shape import Shape
from .states import States
from .streams import Streams
from .tasks import Tasks
from .values import Values
from .waiting import Waiting


@pytest.mark.asyncio
class AioBackendContract(
    Values,
    States,
    Races,
    Expiry,
    Ids,
    Batches,
    Scanning,
    Reading,
    Bells,
    Waiting,
    Streams,
    Running,
    Damage,
    Sealed,
    Loops,
    Forks,
    Tasks,
    Cancelled,
    Resources,
    Errors,
    Groups,
    Modelled,
    Chaos,
    Bounds,
    Reconnecting,
    Noticing,
    Shape,  # the last of the bases: pytest runs its test first
    contract=True,
):
    """
    As `coatcheck.testing.BackendContract`, for `coatcheck.aio`: of a native backend, or of a sync
    one that runs in threads.
    """


__all__ = ["AioBackendContract"]
