"""
coatcheck beside other queues: one object stores the outcome of each task under the queue's own id.

    apscheduler      a listener of a scheduler's events
    dramatiq         a result backend, and a middleware that tells of running tasks
    huey             hooks and signals
    procrastinate    a middleware of the worker, and functions that defer jobs
    rq               worker classes
    taskiq           a result backend, and a middleware that tells of running tasks
    runs             the tasks that a worker runs now, for threads
    asyncio_runs     the same for asyncio

Each adapter imports its queue, so import the module of yours.
"""

from __future__ import annotations

__version__ = "0.2.0"
