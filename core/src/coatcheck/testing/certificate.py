"""
The findings of a run of the contract against a live store, as data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from .promises import PROMISES

Outcome = Literal["kept", "broken", "left out"]

#: Why a test is left out, by the hook of a proof that it needs.
WHY: Final[Mapping[str, str]] = {
    "raw_ttl": "the store's own count of a record's life cannot be seen by a URL",
    "open_resources": "the store's own count of connections cannot be seen by a URL",
    "limited": "the contract has no second server with a small limit",
    "address": "no proxy can stand before the store",
    "through": "no proxy can stand before the store",
    "unreachable_url": "no proxy can stand before the store",
    "cut": "no proxy can stand before the store",
    "COATCHECK_TESTING_LONG": "it takes minutes: ask for it by --long",
}


@dataclass
class Test:
    """One test of the contract on one side, with all its parameters."""

    side: Literal["sync", "asyncio"]
    name: str
    promises: list[int]
    outcome: Outcome
    seconds: float = 0.0
    #: Why it was left out, or how it failed.
    reason: str = ""
    #: The expectation of the test, in one sentence.
    expected: str = ""
    #: The last operations of the backend, one a line, each with its answer.
    operations: str = ""

    __test__ = False  # pytest


@dataclass
class Certificate:
    """A report of `coatcheck certify`."""

    #: Without secrets.
    url: str
    #: The versions of coatcheck, the backend's distribution, the server and Python, by name.
    versions: dict[str, str]
    date: str
    capabilities: list[str]
    #: The largest record in bytes; `None` if no limit is known.
    max_value_bytes: int | None
    #: The unit of a record's life, in seconds.
    expires_resolution: float
    #: Whether only the most telling tests ran.
    quick: bool = False
    tests: list[Test] = field(default_factory=list)
    #: Milliseconds: the median and the 99th percentile, by operation.
    latencies: dict[str, dict[str, float]] = field(default_factory=dict)
    #: What ended the run early, or could not be done.
    errors: list[str] = field(default_factory=list)
    #: How many records are left; `None` if the store cannot list them.
    left: int | None = None

    @property
    def sound(self) -> bool:
        """Whether no promise was broken and the run came to its end."""
        return not self.errors and not self.left and "broken" not in self.outcomes(self.tests)

    def of_promise(self, number: int) -> list[Test]:
        """Return the tests of one promise."""
        return [test for test in self.tests if number in test.promises]

    @property
    def promises(self) -> dict[int, Outcome]:
        """The outcome of each promise: broken by one broken test, kept by one that is kept."""
        order: tuple[Outcome, ...] = ("broken", "kept", "left out")
        return {
            number: min(self.outcomes(self.of_promise(number)), key=order.index, default="left out")
            for number in PROMISES
        }

    @property
    def broken(self) -> list[Test]:
        """The tests that failed."""
        return [test for test in self.tests if test.outcome == "broken"]

    def left_out(self) -> dict[str, list[str]]:
        """Return the names of the tests left out, by reason."""
        found: dict[str, list[str]] = {}
        for test in self.tests:
            if test.outcome == "left out" and test.name not in found.setdefault(test.reason, []):
                found[test.reason].append(test.name)
        return found

    @staticmethod
    def outcomes(tests: Iterable[Test]) -> set[Outcome]:
        """Return the outcomes among *tests*."""
        return {test.outcome for test in tests}

    def as_data(self) -> dict[str, Any]:
        """Return the report as data for JSON."""
        promises = [
            {"number": number, "promise": PROMISES[number], "outcome": outcome}
            for number, outcome in self.promises.items()
        ]
        return {"sound": self.sound, "promises": promises, **asdict(self)}
