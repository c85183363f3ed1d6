"""
Starting our own tasks in applications that have a task factory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def start(coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
    """
    Start a task in the next turn of the loop, whichever task factory the loop has.

    `asyncio.eager_task_factory` would run it in the middle of its caller, and a factory of the
    application may refuse, count or wrap tasks that the application did not start.
    """
    return asyncio.Task(coroutine, loop=asyncio.get_running_loop(), name=name)
