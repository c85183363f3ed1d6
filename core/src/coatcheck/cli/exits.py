"""
Exit statuses of the command line.
"""

from __future__ import annotations

import signal
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .._record.meta import ResultMeta

SUCCESS: Final = 0
FAILURE: Final = 1
#: Wrong usage, wrong configuration, the store's errors, a value that cannot be read.
ERROR: Final = 2
NOT_READY: Final = 3
UNKNOWN: Final = 4
REVOKED: Final = 5
TIMED_OUT: Final = 124
#: The command that was run succeeded, and its outcome could not be stored.
NOT_STORED: Final = 125
CANNOT_EXECUTE: Final = 126
NOT_FOUND: Final = 127
#: Shells add this to the number of the signal that ended a command.
SIGNALLED: Final = 128
INTERRUPTED: Final = SIGNALLED + signal.SIGINT
BROKEN_PIPE: Final = SIGNALLED + 13

HELP: Final = """
\b
Exit status of get, wait and forget:
  0    the task succeeded
  1    the task failed
  2    wrong usage or configuration, an error of the store,
       or a record that cannot be read
  3    the task is not ready
  4    nothing is stored for the id
  5    the task was revoked
  124  the wait timed out

\b
Exit status of run: the command's own, 128 + N if signal N ended it,
and
  2    nothing was run: wrong usage or configuration, an error of the
       store, or an id whose task is over
  125  the command succeeded, and its outcome could not be stored
  126  the command cannot be executed
  127  the command was not found

\b
Exit status of doctor: 0 for a sound store, 1 for warnings, 2 for a
broken store

\b
Exit status of migrate: 0 if all records are in the target, 1 if not, 2 for
an error of a store
"""


def of_record(meta: ResultMeta) -> int:
    """Return the status for the state of one record, even if its value cannot be read."""
    if not meta.known:
        return UNKNOWN
    if "status" not in meta.document:
        return ERROR
    if not meta.ready:
        return NOT_READY
    if meta.successful:
        return SUCCESS
    return FAILURE if meta.failed else REVOKED


def of_several(statuses: Collection[int]) -> int:
    """Return the status for several tasks: the first of these that applies to one of them."""
    return next((s for s in (TIMED_OUT, FAILURE, REVOKED) if s in statuses), SUCCESS)
