"""
Concurrency, pauses and patient waits, for bodies of tests that run on either side.

If an event loop runs, these are its tasks. Otherwise they are threads, and each coroutine runs in
one of them by `driven`.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from functools import partial
from typing import Any, Protocol, TypeVar

from ..errors import BackendUnavailableError, WaitTimeoutError
from .awaited import driven
from .patience import PATIENCE
from .stacks import all_stacks
from .threads import HangError, Started, in_threads, told

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Begun(Protocol[T_co]):
    """A coroutine under way in a task or a thread. Await it for its answer."""

    def done(self) -> bool:
        """Whether it has ended."""

    def __await__(self) -> Generator[Any, Any, T_co]: ...


def in_loop() -> bool:
    """Whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def start(coroutine: Coroutine[Any, Any, T]) -> Begun[T]:
    """Begin *coroutine* in a task or a thread of its own."""
    if in_loop():
        return asyncio.create_task(patiently(coroutine))
    return Started(driven, coroutine)


async def patiently(coroutine: Awaitable[T], *, patience: float = PATIENCE) -> T:
    """Await, and fail instead of hanging."""
    if not in_loop():
        answer: T = Started(driven, coroutine).answer(patience=patience)
        return answer
    try:
        async with asyncio.timeout(patience) as bound:
            return await coroutine
    except TimeoutError as error:
        if not bound.expired():
            raise
        name = getattr(coroutine, "__qualname__", repr(coroutine))
        raise HangError(f"{name} hangs, after {patience:g} s\n\n{all_stacks()}") from error


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """
    Run *coroutines* in a task or a thread each, all from one moment on; return their answers in order.
    """
    if in_loop():
        return await patiently(asyncio.gather(*coroutines))
    return in_threads(partial(driven, coroutine) for coroutine in coroutines)


async def apart(function: Callable[..., T], *args: Any) -> T:
    """Call a synchronous function without blocking the loop, if one runs."""
    return await asyncio.to_thread(function, *args) if in_loop() else function(*args)


async def pause(seconds: float) -> None:
    if in_loop():
        await asyncio.sleep(seconds)
    else:
        time.sleep(seconds)  # noqa: ASYNC251 - no loop is there


async def answer_of(called: Any) -> Any:
    """Return the answer to a call of a backend of either side."""
    return await called if inspect.isawaitable(called) else called


async def until(condition: Callable[[], Any], *, patience: float = PATIENCE) -> Any:
    """
    Return the first true answer of *condition*, maybe a coroutine function; a `Not` explains
    itself.
    """
    deadline = time.monotonic() + patience
    while not (answer := await answer_of(condition())):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {patience:g} s: {told(answer)}")
        await pause(0.01)
    return answer


async def answered(wait: Callable[[], Awaitable[T]]) -> T:
    """Return the answer of *wait*, which has hardly any time, repeating it until the store answers."""
    return await _repeated(wait, lambda error: getattr(error, "last_error", None) is not None)


async def served(operation: Callable[[], Awaitable[T]]) -> T:
    """Return the answer of *operation*, which has little time, repeating it until the store serves."""
    return await _repeated(operation, lambda error: isinstance(error, BackendUnavailableError))


async def _repeated(call: Callable[[], Awaitable[T]], is_early: Callable[[Exception], bool]) -> T:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await call()
        except (WaitTimeoutError, BackendUnavailableError) as error:
            if not is_early(error) or time.monotonic() > deadline:
                raise
