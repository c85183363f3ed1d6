"""
Values that all clients of a process share.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from coatcheck.plugin import forks

V = TypeVar("V")


class Registry(Generic[V]):
    """Values by key, each made once. Shared by threads; a forked child keeps them."""

    def __init__(self) -> None:
        self._values: dict[object, V] = {}
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()

    def get(self, key: object, make: Callable[[], V]) -> V:
        """Return the value of *key*, which *make* returns the first time."""
        forks.check()
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
            return self._values[key]
