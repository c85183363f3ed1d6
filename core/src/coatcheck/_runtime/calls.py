"""
A call that one thread asks for and another one makes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Call(Generic[T]):
    """A call and its outcome."""

    __slots__ = ("_act", "_error", "_result")

    def __init__(self, act: Callable[[], T]) -> None:
        self._act = act
        self._error: BaseException | None = None

    def do(self) -> None:
        """Call, and keep the outcome."""
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001 - raised where the call was asked for
            self._error = error

    def _call(self) -> None:
        self._result = self._act()

    def outcome(self) -> T:
        """Return the result or raise the error. Only once."""
        if self._error is None:
            return self._result
        try:
            raise self._error
        finally:
            self._error = None  # which holds this frame
