"""
Threads and conditions, each with a deadline: a test of a broken backend fails instead of hanging.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

from .patience import PATIENCE
from .stacks import stack_of

T = TypeVar("T")


class HangError(AssertionError):
    """A call in a thread has not ended; shows its stack."""


class Not(str):
    """A false answer of a condition, with the reason."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False


def told(answer: object) -> str:
    """Return the reason of a false answer."""
    return str(answer) if isinstance(answer, Not) else f"it did not come true, it is {answer!r}"


def until(condition: Callable[[], Any], *, patience: float = PATIENCE) -> Any:
    """Return the first true answer of *condition*; a `Not` explains itself."""
    deadline = time.monotonic() + patience
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {patience:g} s: {told(answer)}")
        time.sleep(0.01)
    return answer


class Started:
    """A function under way in a thread. Awaiting its answer blocks."""

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
        return self._thread.is_alive()

    def done(self) -> bool:
        return not self.running

    def __await__(self) -> Generator[Any, Any, Any]:
        yield from ()
        return self.answer()

    def answer(self, *, patience: float = PATIENCE) -> Any:
        """Return the answer of the function, or raise its error."""
        self._thread.join(patience)
        if self._thread.is_alive():
            named = (getattr(part, "__qualname__", "") for part in (self._function, *self._args))
            name = " ".join(filter(None, named)) or repr(self._function)
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
