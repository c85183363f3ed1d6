"""
RQ's worker class.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from rq import Retry

import coatcheck_queues.rq
from coatcheck.testing import jobs

from .queue_settings import settings


def work(job: str, *arguments: str) -> Any:
    """Run a job."""
    return jobs.work(job, *arguments)


def killed() -> None:
    """Be killed, as by the system when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def returns_retry() -> Retry:
    """Ask for another attempt."""
    return Retry(max=1)


if "TESTS_STORE" in os.environ:  # in the worker

    class Worker(coatcheck_queues.rq.Worker):
        """Stores for the tests."""

        coatcheck_results = os.environ["TESTS_STORE"]
        coatcheck_options = settings()
        coatcheck_heartbeat = coatcheck_options.pop("heartbeat")
