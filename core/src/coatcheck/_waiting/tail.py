"""
The end of a task's log that a wait follows.
"""

from __future__ import annotations

from .._backends.logs import Log


class Tail:
    """The events of one task for one wait. The hub reads, the owner takes."""

    def __init__(self, after: int) -> None:
        #: The number of the last event that the owner took.
        self.after = after
        #: The last read; `None` before the first one. It may begin with events that the owner has taken meanwhile.
        self.log: Log | None = None
