"""
A plugin that records the calls of its hooks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._record.meta import ResultMeta
from .._results.hooks import hookimpl


class Watcher:
    """Pass it as one of `plugins`; `told` then has a line for each call."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    @hookimpl
    def stored(self, meta: ResultMeta, won: bool) -> None:  # noqa: FBT001 - the hook's signature
        self.told.append(("stored", meta.task_id, meta.status, won))

    @hookimpl
    def read(self, metas: Mapping[str, ResultMeta], asked: int) -> None:
        self.told.append(("read", sorted(metas), asked))

    @hookimpl
    def waited(self, meta: ResultMeta) -> None:
        self.told.append(("waited", meta.task_id))

    @hookimpl
    def failed(self, operation: str, error: Exception) -> None:
        self.told.append(("failed", operation, type(error).__name__))

    @hookimpl
    def forgotten(self, task_ids: list[str], count: int) -> None:
        self.told.append(("forgotten", task_ids, count))


#: The lines for the calls that the contract makes.
EXPECTED: list[tuple[Any, ...]] = [
    ("stored", "t", "SUCCESS", True),
    ("stored", "t", "SUCCESS", False),
    ("stored", "a", "SUCCESS", True),
    ("stored", "t", "SUCCESS", False),
    ("read", ["a", "t"], 3),
    ("waited", "t"),
    ("failed", "wait", "WaitTimeoutError"),
    ("forgotten", ["t"], 1),
]
