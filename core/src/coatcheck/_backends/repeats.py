"""
Operations that are repeated within their time, for threads and for asyncio.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from .._runtime.interruptions import pass_on_interruption
from ..errors import CoatcheckError
from .attempts import Attempts

E = TypeVar("E", bound=Exception)
E_contra = TypeVar("E_contra", bound=Exception, contravariant=True)
T = TypeVar("T")


class Mapped(Protocol[E_contra]):
    """Returns our error for the driver's."""

    def __call__(self, error: E_contra, /, *, writing: bool) -> CoatcheckError: ...


class Repeats(Generic[E]):
    """
    Repeats an operation after temporary errors. Raises our error for the driver's if no try succeeds.
    Shared by threads.

    Args:
        seconds: the time for one operation with all its tries.
        errors: the classes of the errors that a try may raise. All others pass.
        is_transient: whether the same operation may succeed in a moment.
        mapped: returns our error for the driver's. The driver's becomes its cause, unless it has one.
    """

    def __init__(
        self,
        seconds: float,
        *,
        errors: tuple[type[E], ...],
        is_transient: Callable[[E], bool],
        mapped: Mapped[E],
    ) -> None:
        self._seconds = seconds
        self._errors = errors
        self._is_transient = is_transient
        self._mapped = mapped
        #: The error that makes an operation repeat now; for the backend's `trouble`.
        self.trouble: Exception | None = None

    def run(self, act: Callable[[Attempts], T], *, writing: bool, part: float = 1.0) -> T:
        """
        Return the result of *act*, which keeps to the time that `Attempts.left` says. All tries take at most
        this *part* of the time for one operation.
        """
        attempts = Attempts(self._seconds * part)
        while True:
            try:
                result = act(attempts)
            except self._errors as error:
                pause = self.failed(error, attempts, writing=writing)
            else:
                self.trouble = None
                return result
            time.sleep(pause)

    async def arun(
        self,
        act: Callable[[Attempts], Awaitable[T]],
        *,
        writing: bool,
        start: float | None = None,
        part: float = 1.0,
    ) -> T:
        """
        As `run`, for asyncio. The time counts from *start*, by the monotonic clock; by default from now.
        """
        attempts = Attempts(self._seconds * part, start)
        while True:
            try:
                result = await act(attempts)
            except self._errors as error:
                pause = self.failed(error, attempts, writing=writing)
            else:
                self.trouble = None
                return result
            await asyncio.sleep(pause)

    def failed(self, error: E, attempts: Attempts, *, writing: bool) -> float:
        """
        Return the pause before the next try after *error*. Raises our error if no try is left.
        """
        pass_on_interruption(error)
        pause = attempts.next_pause() if self._is_transient(error) else None
        ours = self._mapped(error, writing=writing)
        if pause is None:
            raise ours from ours.__cause__ or error
        self.trouble = ours
        return pause
