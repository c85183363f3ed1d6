"""
Operations that are written once for both sides: generators that yield requests and receive replies.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Generator, Sequence
from typing import Any, TypeVar

from ..errors import CoatcheckError
from .backend import Backend, BaseBackend, Unless
from .logs import Log

R = TypeVar("R")
T = TypeVar("T")
V = TypeVar("V")

#: Yields requests, receives the reply to each, or has its error thrown into it, and returns the outcome.
Operation = Generator[R, Any, T]


def drive(
    operation: Operation[R, T],
    ask: Callable[[R], Any],
    errors: tuple[type[Exception], ...] = (CoatcheckError,),
) -> T:
    """
    Return the outcome of *operation*. *ask* returns the reply to a request, or raises one of *errors*. All
    other exceptions end the operation.
    """
    try:
        request = next(operation)
        while True:
            try:
                reply = ask(request)
            except errors as error:
                request = operation.throw(error)
            else:
                request = operation.send(reply)
    except StopIteration as end:
        outcome: T = end.value
        return outcome
    finally:
        operation.close()


async def adrive(
    operation: Operation[R, T],
    ask: Callable[[R], Awaitable[Any]],
    errors: tuple[type[Exception], ...] = (CoatcheckError,),
) -> T:
    """As `drive`, for asyncio."""
    try:
        request = next(operation)
        while True:
            try:
                reply = await ask(request)
            except errors as error:
                request = operation.throw(error)
            else:
                request = operation.send(reply)
    except StopIteration as end:
        outcome: T = end.value
        return outcome
    finally:
        operation.close()


class Operations(BaseBackend[V], ABC):
    """
    The operations behind the methods of a backend, for both sides. Each returns the value of the method of
    `Backend` with the same name.
    """

    @abstractmethod
    def _put(
        self, key: str, value: V, unless: Unless, if_match: V | None, expires: float | None
    ) -> Operation[Any, bool]: ...

    @abstractmethod
    def _put_many(
        self, items: Sequence[tuple[str, V]], unless: Unless, expires: float | None
    ) -> Operation[Any, list[bool]]: ...

    @abstractmethod
    def _get_many(self, keys: Collection[str]) -> Operation[Any, dict[str, V]]: ...

    @abstractmethod
    def _delete_many(self, keys: Collection[str]) -> Operation[Any, int]: ...

    def _append(
        self,
        key: str,
        value: V,
        events: Sequence[bytes],
        unless: Unless,
        if_match: V | None,
        expires: float | None,
    ) -> Operation[Any, int | None]:
        raise self._lacks_events()

    def _get_log(self, key: str, after: int) -> Operation[Any, Log]:
        raise self._lacks_events()


class DrivenBackend(Operations[V], Backend[V]):
    """A backend for synchronous code that only drives `Operations`."""

    @abstractmethod
    def _ask(self, request: Any) -> Any:
        """Return the reply to a request of an operation."""

    def put(
        self,
        key: str,
        value: V,
        *,
        unless: Unless,
        if_match: V | None = None,
        expires: float | None,
    ) -> bool:
        return drive(self._put(key, value, unless, if_match, expires), self._ask)

    def put_many(
        self, items: Sequence[tuple[str, V]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        return drive(self._put_many(items, unless, expires), self._ask)

    def get_many(self, keys: Collection[str]) -> dict[str, V]:
        return drive(self._get_many(keys), self._ask)

    def delete_many(self, keys: Collection[str]) -> int:
        return drive(self._delete_many(keys), self._ask)

    def append(
        self,
        key: str,
        value: V,
        events: Sequence[bytes],
        *,
        unless: Unless,
        if_match: V | None = None,
        expires: float | None,
    ) -> int | None:
        return drive(self._append(key, value, events, unless, if_match, expires), self._ask)

    def get_log(self, key: str, after: int = 0) -> Log:
        return drive(self._get_log(key, after), self._ask)
