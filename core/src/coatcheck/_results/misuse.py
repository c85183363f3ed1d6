"""
Errors for mistakes that would otherwise go unnoticed, or be reported in terms of the store's driver.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Concatenate, Generic, NoReturn, ParamSpec, TypeVar, overload

from .._runtime.completion import shown

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")


class HoldsConnections:
    """An object that is of use in its own process only."""

    __slots__ = ()

    #: How to have the same in another process.
    _elsewhere = "pass the URL, and call coatcheck.by_url(url) there"

    def __dir__(self) -> list[str]:
        return shown(super().__dir__())

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled or copied, because it holds connections: {self._elsewhere}"
        )


class Call(Generic[P, R]):
    """A method that is yet to be called. Any use but the call raises `TypeError`."""

    __slots__ = ("_function", "_self")

    def __init__(self, function: Callable[..., R], owner: object) -> None:
        self._function = function
        self._self = owner

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._function(self._self, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<method {self._function.__qualname__} of {self._self!r}>"

    def _error(self) -> TypeError:
        name = self._function.__qualname__
        if inspect.iscoroutinefunction(self._function):
            how = f"await handle.{self._function.__name__}()"
        else:
            how = f"handle.{self._function.__name__}()"
        return TypeError(f"{name} is a method, and no value yet: write {how}")

    def __await__(self) -> NoReturn:
        raise self._error()

    def __bool__(self) -> bool:
        raise self._error()

    def __eq__(self, other: object) -> bool:
        raise self._error()

    def __hash__(self) -> int:
        # A look into a set or a dict is a comparison.
        raise self._error()


class called(Generic[S, P, R]):  # noqa: N801 - a decorator
    """
    Make a method refuse to be compared, or taken for true, without being called.

    Others of its kind are properties, here or on the other side, so the call is easily forgotten.
    """

    def __init__(self, function: Callable[Concatenate[S, P], R]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Callable[Concatenate[S, P], R]: ...
    @overload
    def __get__(self, instance: S, owner: type) -> Call[P, R]: ...
    def __get__(self, instance: S | None, owner: type) -> Any:
        return self._function if instance is None else Call(self._function, instance)
