"""
Huey's instance and tasks, for its consumer and for the tests that send.
"""

from __future__ import annotations

import os
from typing import Any

from huey import RedisHuey

from coatcheck import Results
from coatcheck.testing import jobs
from coatcheck_queues.huey import attach

from .queue_settings import settings


def work(job: str, *arguments: str) -> Any:
    """Run a job."""
    return jobs.work(job, *arguments)


def application(url: str, store: str, **options: Any) -> tuple[RedisHuey, Results]:
    """Return an instance with the tasks, and its results."""
    huey = RedisHuey(url=url)
    for name, retries in (("once", 0), ("again", 1)):
        huey.task(name=name, retries=retries)(work)
    return huey, attach(huey, store, **options)


if "TESTS_STORE" in os.environ:  # in the consumer
    huey, _ = application(os.environ["TESTS_BROKER"], os.environ["TESTS_STORE"], **settings())
