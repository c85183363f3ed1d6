"""
Threads and conditions, each with a deadline: a test of a broken backend fails instead of hanging.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from ..errors import WaitTimeoutError
from .patience import PATIENCE
from .stacks import stack_of

T = TypeVar("T")


class HangError(AssertionError):
    """
    A call in a thread has not ended; says where it stands.
    """


class Not(str):
    """
    A false answer of a condition, which says what is the matter.
    """

    __slots__ = ()

    def __bool__(self) -> bool:
        return False


def told(answer: object) -> str:
    """
    Return what a false answer says.
    """
    return str(answer) if isinstance(answer, Not) else f"it did not come true, it is {answer!r}"


def until(condition: Callable[[], Any], *, patience: float = PATIENCE) -> Any:
    """
    Return the first true answer of *condition*; one that is `Not` true says why.
    """
    deadline = time.monotonic() + patience
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {patience:g} s: {told(answer)}")
        time.sleep(0.01)
    return answer


async def aio_until(condition: Callable[[], Awaitable[Any]], *, patience: float = PATIENCE) -> Any:
    """
    Return the first true answer of the coroutine function *condition*.
    """
    deadline = time.monotonic() + patience
    while not (answer := await condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {patience:g} s: {told(answer)}")
        await asyncio.sleep(0.01)
    return answer


def answered(wait: Callable[[], T], *, patience: float = PATIENCE) -> T:
    """
    Return what *wait* returns, which has next to no time, and is tried again where the store had
    not answered yet: on a machine under load that says nothing about it.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return wait()
        except WaitTimeoutError as late:
            if late.last_error is None or time.monotonic() > deadline:
                raise


async def aio_answered(wait: Callable[[], Awaitable[T]], *, patience: float = PATIENCE) -> T:
    """
    Return what the coroutine function *wait* returns, as `answered` does.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return await wait()
        except WaitTimeoutError as late:
            if late.last_error is None or time.monotonic() > deadline:
                raise


class Started:
    """
    A function under way in a thread.
    """

    def __init__(self, function: Callable[..., T], *args: Any) -> None:
        self._function = function
        self._args = args
        self._answer: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer = self._function(*self._args)
        except BaseException as error:  # noqa: BLE001 - raised where the answer is asked for
            self._error = error

    @property
    def running(self) -> bool:
        """
        Whether it goes on.
        """
        return self._thread.is_alive()

    def answer(self, *, patience: float = PATIENCE) -> Any:
        """
        Return what the function returned, or raise what it raised.
        """
        self._thread.join(patience)
        if self._thread.is_alive():
            name = getattr(self._function, "__name__", repr(self._function))
            raise HangError(f"{name} hangs, after {patience:g} s in {stack_of(self._thread)}")
        if self._error is not None:
            raise self._error
        return self._answer


def in_threads(functions: Iterable[Callable[[], T]]) -> list[T]:
    """
    Run *functions* in a thread each, all from one moment on, and return their answers in order.
    """
    functions = list(functions)
    barrier = threading.Barrier(len(functions))

    def run(function: Callable[[], T]) -> T:
        barrier.wait(PATIENCE)
        return function()

    started = [Started(run, function) for function in functions]
    return [thread.answer() for thread in started]
