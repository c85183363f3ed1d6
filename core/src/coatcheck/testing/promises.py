"""
The numbered promises, and the tests of the contract that hold each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

#: The promises of every backend, in one sentence each.
PROMISES: Final[Mapping[int, str]] = {
    1: "The first ready record wins, atomically, across threads and processes.",
    2: "A wait cannot be missed, and leaves nothing behind.",
    3: "Time is honest: timeouts, operations, and the time to live of records.",
    4: "What you store is what you get, or you are told.",
    5: "Stored bytes are data: nothing is imported or called because they name it.",
    6: "A reader never dies of a record.",
    7: "Reads never delete and never write.",
    8: "Secrets are masked.",
    9: "Threads, forks, event loops and cancellations are survived.",
    10: "Unknown is not pending.",
    11: "Lost workers are noticed.",
    12: "Events arrive in order, and the end always arrives.",
}


def promise(*numbers: int) -> Callable[[F], F]:
    """State which promises a test holds."""
    unknown = set(numbers) - set(PROMISES)
    if unknown or not numbers:
        raise ValueError(f"there are no promises {sorted(unknown)}: use some of 1 to 12")

    def mark(test: F) -> F:
        test.__dict__["promises"] = numbers
        return test

    return mark


def core(test: F) -> F:
    """Mark a test as one of the few most telling: `pytest -k contract_core` runs these alone."""
    test.__dict__["contract_core"] = True
    return test


def expiring(test: F) -> F:
    """
    Mark a test that waits until records expire: `pytest -k "not contract_expiry"` leaves these
    out.
    """
    test.__dict__["contract_expiry"] = True
    return test


def needs(*hooks: str) -> Callable[[F], F]:
    """Mark a test that applies only if the proof has these hooks."""

    def mark(test: F) -> F:
        test.__dict__["needs"] = hooks
        return test

    return mark


def suite_of(contract: type) -> dict[str, Callable[..., Any]]:
    """Return the tests of a contract, or of a proof, by name."""
    names = sorted(name for name in dir(contract) if name.startswith("test_"))
    return {name: test for name in names if (test := getattr(contract, name)) is not None}


def promises_of(contract: type) -> dict[int, list[str]]:
    """Return for each promise the tests that hold it in *contract*, or in a proof."""
    held: dict[int, list[str]] = {number: [] for number in PROMISES}
    for name, test in suite_of(contract).items():
        for number in getattr(test, "promises", ()):
            held[number].append(name)
    return held


def left_out(proof: type) -> dict[str, tuple[str, ...]]:
    """Return the contract's tests whose hooks *proof* lacks, each with those hooks."""
    found: dict[str, tuple[str, ...]] = getattr(proof, "_left_out", {})
    return dict(found)
