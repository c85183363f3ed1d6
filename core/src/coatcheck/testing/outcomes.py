"""
Tells the outcome of each test of `certified.py` as it comes: a plugin of pytest, in the process that runs them.

Each message is a line of JSON, written to the descriptor that the environment names.
"""

from __future__ import annotations

import json
import os
from typing import Any, Final

import pytest

from .. import by_url
from .certificate import WHY
from .place import Place
from .promises import left_out, suite_of
from .proof import LONG, innermost
from .stacks import Hang

#: The variable with the number of the descriptor.
DESCRIPTOR: Final = "COATCHECK_TESTING_OUTCOMES"


def _tell(**message: Any) -> None:
    os.write(int(os.environ[DESCRIPTOR]), json.dumps(message).encode() + b"\n")


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Leave the model out where a store counts in seconds, unless long tests are asked for."""
    place = Place.of_environment()
    assert place is not None
    with by_url(place.url) as results:
        coarse = innermost(results.backend).expires_resolution >= 1
    for item in items:
        if coarse and LONG not in os.environ and item.name == "test_model":
            item.add_marker(pytest.mark.skip(reason=WHY[LONG]))
            item.user_properties += [("promise", number) for number in item.function.promises]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell how many tests there are, and which ones the proofs leave out."""
    proofs = {cls for item in session.items if (cls := getattr(item, "cls", None)) is not None}
    missing = [
        (f"{proof.__name__}::{name}", hooks, suite_of(proof._contract)[name].__dict__["promises"])
        for proof in proofs
        for name, hooks in left_out(proof).items()
    ]
    _tell(count=len(session.items), left_out=missing)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell the outcome of a phase of a test, unless it is one of those without news."""
    properties = report.user_properties
    if report.when == "call" or report.outcome != "passed":
        _tell(
            test=report.nodeid.partition("::")[2],
            promises=[value for name, value in properties if name == "promise"],
            outcome=report.outcome,
            seconds=round(report.duration, 3),
            reason=_reason(report),
            failure=getattr(report, "told", None),
            latencies=next((value for name, value in properties if name == "latencies"), None),
        )


def _reason(report: pytest.TestReport) -> str:
    """Return why a test was skipped, or how one that is no part of the contract failed."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr or "")


def pytest_sessionfinish() -> None:
    """Delete the records of the tests, and tell how many are left."""
    place = Place.of_environment()
    assert place is not None
    try:
        _tell(end=True, left=place.sweep(), error=None)
    except (Hang, Exception) as error:  # noqa: BLE001 - whatever a broken backend raises
        _tell(end=True, left=None, error=str(error) or repr(error))
