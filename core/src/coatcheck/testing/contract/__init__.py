"""
The contract for both sides. A few of its modules concern one side only.
"""

from __future__ import annotations

from .batches import Batches
from .bells import Bells
from .bounds import Bounds
from .cancelled import Cancelled
from .changes import Changes
from .chaos import Chaos
from .damage import Damage
from .errors import Errors
from .events import Events
from .expiry import Expiry
from .forks import Forks
from .groups import Groups
from .ids import Ids
from .interrupted import Interrupted
from .interrupted_loops import InterruptedLoops
from .loops import Loops
from .modelled import Modelled
from .noticing import Noticing
from .once import Once
from .races import Races
from .reading import Reading
from .reconnecting import Reconnecting
from .resources import Resources
from .revoking import Revoking
from .running import Running
from .scanning import Scanning
from .sealed import Sealed
from .shape import Shape
from .sharing import Sharing
from .states import States
from .streams import Streams
from .threads import Threads
from .typed import Typed
from .values import Values
from .waiting import Waiting


class Both(
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
    Events,
    Damage,
    Sealed,
    Sharing,
    Resources,
    Errors,
    Groups,
    Modelled,
    Chaos,
    Bounds,
    Reconnecting,
    Noticing,
    Changes,
    Typed,
    Once,
    Revoking,
    Shape,  # the last of the bases: pytest runs its test first
):
    """The promises of either side."""


class BackendContract(Forks, Threads, Interrupted, Both, contract=True):
    """
    The contract of a backend. Subclass it in a test module and give the hooks of `Proof`. Its
    tests and fixtures cannot be overridden.
    """


class AioBackendContract(Loops, Cancelled, InterruptedLoops, Both, contract=True):
    """The same for `coatcheck.aio`: for a native backend, or for a synchronous one in threads."""


__all__ = ["AioBackendContract", "BackendContract"]
