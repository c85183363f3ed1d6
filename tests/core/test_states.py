"""
The states: which are over, and which words may be written.
"""

import enum

import pytest

from coatcheck import states
from coatcheck.errors import ArgumentError


@pytest.mark.parametrize(
    "state",
    ["PENDING", "RECEIVED", "STARTED", "PROGRESS", "RETRY", "SUCCESS", "FAILURE", "REVOKED"]
    + ["CUSTOM", "STEP_2", "ON-HOLD", "_X", "GEPRÜFT"],
)
def test_known_and_upper_case_words_may_be_written(state):
    """
    A known state, or any word without lower-case letters, is returned as it is.
    """
    assert state == states.checked(state)


@pytest.mark.parametrize("state", ["", "success", "Success", "TWO WORDS", "1ST", "A\n", None, 5])
def test_other_words_are_refused(state):
    """
    What is no upper-case word is refused with the way out.
    """
    with pytest.raises(ArgumentError, match="use one upper-case word"):
        states.checked(state)


@pytest.mark.parametrize("state", ["REJECTED", "IGNORED"])
def test_foreign_states_are_only_read(state):
    """
    The states that Celery never stores are ready when read, and cannot be written.
    """
    with pytest.raises(ArgumentError, match="only ever read"):
        states.checked(state)
    assert state in states.READY_STATES


def test_members_of_enums_become_plain_text():
    """
    A state of an application's enum is stored as plain text, which every serializer keeps.
    """

    class State(enum.StrEnum):
        UPLOADING = "UPLOADING"

    checked = states.checked(State.UPLOADING)

    assert "UPLOADING" == checked
    assert str is type(checked)


def test_sets_of_states():
    """
    What raises is over, and what carries a failure is raised or a retry.
    """
    assert {"SUCCESS", "FAILURE", "REVOKED", "REJECTED", "IGNORED"} == states.READY_STATES
    assert states.PROPAGATE_STATES < states.READY_STATES
    assert states.PROPAGATE_STATES | {"RETRY"} == states.EXCEPTION_STATES
