"""
Taskiq's broker and tasks, for its worker and for the tests that send.
"""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Any

from taskiq import AsyncBroker, Context, SimpleRetryMiddleware, TaskiqDepends
from taskiq.depends.progress_tracker import ProgressTracker
from taskiq_redis import RedisStreamBroker

from coatcheck.testing import jobs
from coatcheck_queues.taskiq import CoatcheckBackend

from .queue_settings import settings


def work(job: str, arguments: list[str]) -> Any:
    """Run a job, in a thread."""
    return jobs.work(job, *arguments)


async def cancelled() -> None:
    """Be cancelled, as by a worker that shuts down."""
    asyncio.current_task().cancel()
    await asyncio.sleep(0)


async def shown(progress: Annotated[ProgressTracker[Any], TaskiqDepends()]) -> str:
    """Tell of progress."""
    await progress.set_progress("halfway", {"done": 5})
    return "shown"


async def requeued(context: Annotated[Context, TaskiqDepends()]) -> str:
    """Send itself again, once."""
    if context.message.labels.get("X-Taskiq-requeue"):
        return "again"
    await context.requeue()
    return "never"


#: By name: Taskiq renames the functions that it registers.
TASKS = {"work": work, "cancelled": cancelled, "shown": shown, "requeued": requeued}


def application(url: str, backend: CoatcheckBackend) -> AsyncBroker:
    """Return a broker with the tasks."""
    broker = RedisStreamBroker(url, xread_block=100).with_middlewares(SimpleRetryMiddleware())
    for name, task in TASKS.items():
        broker.register_task(task, task_name=name)
    return backend.attach(broker)


def worker() -> AsyncBroker:
    """Return the worker's broker."""
    backend = CoatcheckBackend(os.environ["TESTS_STORE"], **settings())
    return application(os.environ["TESTS_BROKER"], backend)
