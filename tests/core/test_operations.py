"""
Operations that are written once and driven by both sides.
"""

from __future__ import annotations

import asyncio

import pytest

from coatcheck import BackendError
from coatcheck.plugin import adrive, drive


@pytest.fixture(params=["threads", "asyncio"])
def run(request):
    """Drive an operation by one side or the other."""
    if request.param == "threads":
        return drive

    def run(operation, ask, *errors):
        async def asking(value):
            return ask(value)

        return asyncio.run(adrive(operation, asking, *errors))

    return run


def adding(requests):
    """Ask for each of *requests*, and return the sum of the replies."""
    total = 0
    for request in requests:
        total += yield request
    return total


def test_replies(run):
    """An operation receives the reply to each request, and its outcome is returned."""
    assert run(adding([1, 2, 3]), lambda number: number * 10) == 60


def test_without_requests(run):
    """An operation may need no request at all."""
    assert run(adding([]), pytest.fail) == 0


def test_error_is_thrown_into_the_operation(run):
    """An operation can answer an error of the store by another request."""

    def recovering():
        try:
            yield "first"
        except BackendError as error:
            return (yield str(error))

    def ask(request):
        if request == "first":
            raise BackendError("second")
        return request

    assert run(recovering(), ask) == "second"


def test_errors_of_a_driver(run):
    """An operation that asks a driver can have the driver's errors thrown into it."""

    def recovering():
        try:
            yield 1
        except OSError:
            return "recovered"

    def ask(request):
        raise OSError(request)

    assert run(recovering(), ask, (OSError,)) == "recovered"


def test_error_is_raised(run):
    """An error that the operation does not catch reaches the caller."""

    def ask(request):
        raise BackendError(request)

    with pytest.raises(BackendError, match="away"):
        run(adding(["away"]), ask)


def test_interruption_ends_the_operation(run):
    """An exception of a signal handler is not an answer: the operation ends where it is."""
    seen = []

    def careful():
        try:
            yield "request"
        except BaseException as error:
            seen.append(type(error))
            raise

    def ask(request):
        raise ZeroDivisionError(request)

    with pytest.raises(ZeroDivisionError):
        run(careful(), ask)
    assert seen == [GeneratorExit]
