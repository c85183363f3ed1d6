"""
A store that is away, and what errors tell.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from ... import BackendUnavailableError, ConfigurationError, WaitTimeoutError, by_url
from ..._results.results import Results
from ..promises import needs, promise
from ..proof import SECRET, innermost
from ..threads import Started
from .case import Case

OPERATIONS: dict[str, Callable[[Results], Any]] = {
    "store": lambda results: results.store_result("t", 1),
    "store_many": lambda results: results.store_many({"t": 1, "u": 2}),
    "read": lambda results: results.get_task_meta("t"),
    "read_many": lambda results: results.get_many(["t", "u"]),
    "forget": lambda results: results.forget("t"),
    "expect": lambda results: results.expect("t"),
}
#: The time that one operation may take in the tests of a store that is away, in seconds.
SHORT = 0.5


class Errors(Case):
    """
    Promises 3 and 8.
    """

    @promise(3)
    @needs("unreachable_url")
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_store_is_away(self, operation: str) -> None:
        """
        Every operation on a store that is away raises our error, in its time, with the cause.
        """
        with by_url(self.unreachable_url(), operation_timeout=SHORT) as results:
            started = Started(OPERATIONS[operation], results)
            with pytest.raises(BackendUnavailableError) as caught:
                started.answer()

        assert caught.value.__cause__ is not None
        assert isinstance(caught.value, ConnectionError)

    @promise(2, 3)
    @needs("unreachable_url")
    @pytest.mark.parametrize("timeout", [0, 0.05, 1])
    def test_wait_while_away(self, timeout: float) -> None:
        """
        A wait on a store that is away ends at its own deadline and by nothing else; the store's
        error is the cause.
        """
        with by_url(self.unreachable_url(), operation_timeout=SHORT) as results:
            start = time.monotonic()
            wait = Started(results.wait_for, "t", timeout)
            with pytest.raises(WaitTimeoutError) as caught:
                wait.answer()

        assert time.monotonic() - start >= timeout
        assert isinstance(caught.value.__cause__, BackendUnavailableError)

    @promise(2)
    @needs("unreachable_url")
    def test_running_while_away(self) -> None:
        """
        A block runs although nothing can be stored, and its own exception is the one raised.
        """
        with by_url(self.unreachable_url(), operation_timeout=SHORT) as results:
            with pytest.raises(KeyError) as caught, results.running("t"):
                raise KeyError("own")
            with pytest.raises(BackendUnavailableError), results.running("u"):
                pass

        assert any("could not be stored" in note for note in caught.value.__notes__)

    @promise(8)
    @needs("unreachable_url")
    def test_secrets_are_masked(self, caplog: pytest.LogCaptureFixture) -> None:
        """
        No error, no `repr` and no line of the log shows the password.
        """
        caplog.set_level(logging.DEBUG)
        said = []
        with by_url(self.unreachable_url(), operation_timeout=SHORT) as results:
            said += [repr(results), str(results), repr(results.backend)]
            said += [repr(innermost(results.backend)), repr(results.AsyncResult("t"))]
            for operation in OPERATIONS.values():
                with pytest.raises(BackendUnavailableError) as caught:
                    operation(results)
                said += traceback.format_exception(caught.value)
            with pytest.raises(WaitTimeoutError) as late:
                results.wait_for("t", 0.05)
            said += traceback.format_exception(late.value)

        assert SECRET not in "".join([*said, caplog.text])

    @promise(8)
    def test_wrong_option(self, results: Results) -> None:
        """
        An option that does not exist is refused by name, and its value is not shown.
        """
        if not self.store_url:
            return
        for options in ({"no_such_option": SECRET}, {"expires": SECRET}):
            with pytest.raises(ConfigurationError, match=next(iter(options))) as caught:
                self.sync_results(**options)
            assert SECRET not in "".join(traceback.format_exception(caught.value))

    @promise(3)
    @pytest.mark.parametrize("timeout", [-1, float("nan"), True, "5"])
    def test_no_timeout(self, results: Results, timeout: Any) -> None:
        """
        A timeout that cannot be is refused at once.
        """
        for wait in (partial(results.wait_for, "t"), results.AsyncResult("t").get):
            with pytest.raises(ValueError, match="timeout"):
                Started(wait, timeout).answer()
