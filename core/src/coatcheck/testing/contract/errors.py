"""
A store that is away, and the errors that say so.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ... import BackendUnavailableError, ConfigurationError, WaitTimeoutError
from ...aio import Results
from ..promises import core, needs, promise
from ..proof import SECRET, innermost
from ..sides import patiently
from .case import Case

OPERATIONS: dict[str, Callable[[Results], Awaitable[Any]]] = {
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
    """Promises 3 and 8."""

    @promise(3)
    @needs("unreachable_url")
    @pytest.mark.parametrize("operation", OPERATIONS)
    async def test_store_is_away(self, operation: str) -> None:
        """An operation on a store that is away raises our error in time, with the cause."""
        async with self.results_at(self.unreachable_url(), operation_timeout=SHORT) as results:
            with pytest.raises(BackendUnavailableError) as caught:
                await patiently(OPERATIONS[operation](results))

        assert caught.value.__cause__ is not None
        assert isinstance(caught.value, ConnectionError)

    @promise(2, 3)
    @needs("unreachable_url")
    @pytest.mark.parametrize("timeout", [0, 0.05, 1])
    async def test_wait_while_away(self, timeout: float) -> None:
        """
        A wait on a store that is away ends at its deadline, with the store's error as the cause.
        """
        async with self.results_at(self.unreachable_url(), operation_timeout=SHORT) as results:
            began = time.monotonic()
            with pytest.raises(WaitTimeoutError) as caught:
                await patiently(results.wait_for("t", timeout))

        assert time.monotonic() - began >= timeout
        assert isinstance(caught.value.__cause__, BackendUnavailableError)

    @promise(2)
    @needs("unreachable_url")
    async def test_running_while_away(self) -> None:
        """A block runs although nothing can be stored; only its own exception is raised."""
        async with self.results_at(self.unreachable_url(), operation_timeout=SHORT) as results:
            with pytest.raises(KeyError) as caught:
                async with results.running("t"):
                    raise KeyError("own")
            with pytest.raises(BackendUnavailableError):
                async with results.running("u"):
                    pass

        assert any("could not be stored" in note for note in caught.value.__notes__)

    @core
    @promise(8)
    @needs("unreachable_url")
    async def test_secrets_are_masked(self, caplog: pytest.LogCaptureFixture) -> None:
        """No error, no `repr` and no log line shows the password."""
        caplog.set_level(logging.DEBUG)
        said = []
        async with self.results_at(self.unreachable_url(), operation_timeout=SHORT) as results:
            said += [repr(results), str(results), repr(results.backend)]
            said += [repr(innermost(results.backend)), repr(results.AsyncResult("t"))]
            for operation in OPERATIONS.values():
                with pytest.raises(BackendUnavailableError) as caught:
                    await operation(results)
                said += traceback.format_exception(caught.value)
            with pytest.raises(WaitTimeoutError) as late:
                await results.wait_for("t", 0.05)
            said += traceback.format_exception(late.value)

        assert SECRET not in "".join([*said, caplog.text])

    @promise(8)
    async def test_wrong_option(self) -> None:
        """An unknown option is refused by name, and its value is not shown."""
        if not self.store_url:
            return
        for options in ({"no_such_option": SECRET}, {"expires": SECRET}):
            with pytest.raises(ConfigurationError, match=next(iter(options))) as caught:
                self.new_results(**options)
            assert SECRET not in "".join(traceback.format_exception(caught.value))

    @promise(3)
    @pytest.mark.parametrize("timeout", [-1, float("nan"), True, "5"])
    async def test_no_timeout(self, results: Results, timeout: Any) -> None:
        """An impossible timeout is refused at once."""
        with pytest.raises(ValueError, match="timeout"):
            await patiently(results.wait_for("t", timeout))
        with pytest.raises(ValueError, match="timeout"):
            await patiently(results.AsyncResult("t").get(timeout))
