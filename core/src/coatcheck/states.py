"""
The states of a task, in the field's own words.
"""

from __future__ import annotations

from .errors import ArgumentError

PENDING = "PENDING"
RECEIVED = "RECEIVED"
STARTED = "STARTED"
PROGRESS = "PROGRESS"
RETRY = "RETRY"
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"
#: Those that have a name here; others are any other words.
NAMED_STATES = (PENDING, RECEIVED, STARTED, PROGRESS, RETRY, SUCCESS, FAILURE, REVOKED)

#: Read as ready, never written: Celery knows these states and does not store them.
FOREIGN_READY_STATES = frozenset({"REJECTED", "IGNORED"})
#: The states of a task that is over.
READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED}) | FOREIGN_READY_STATES
#: The states whose result is a failure.
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
#: The states that make `get()` raise.
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})

_NAMED = frozenset(NAMED_STATES)


def checked(state: str) -> str:
    """Return *state* as a plain `str` if it may be written: a known one or any upper-case word."""
    if type(state) is str and state in _NAMED:
        return state
    if (
        not isinstance(state, str)
        or not state.replace("-", "_").isidentifier()
        or state != state.upper()
    ):
        raise ArgumentError("a state", state, "use one upper-case word, such as 'STARTED'")
    if state in FOREIGN_READY_STATES:
        raise ArgumentError("a stored state", state, "it is only ever read")
    return str.__str__(state)
