"""
Dramatiq's broker and actors, for its worker and for the tests that send.
"""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from coatcheck.testing import jobs
from coatcheck_queues.dramatiq import CoatcheckBackend, attach

from .queue_settings import settings


def application(url: str, store: str, **options: Any) -> tuple[RedisBroker, CoatcheckBackend]:
    """Return a broker with the actors, and their results."""
    broker = RedisBroker(url=url)
    given = {"store_results": True, "result_ttl": int(1000 * jobs.EXPIRES), **options}
    backend = attach(broker, store, **given)
    retries: dict[str, Any] = {"max_retries": 1, "min_backoff": 50, "max_backoff": 50}
    dramatiq.actor(jobs.work, broker=broker, actor_name="work", max_retries=0)
    dramatiq.actor(jobs.work, broker=broker, actor_name="again", **retries)
    return broker, backend


def worker() -> None:
    """Make the worker's broker the global one."""
    options = settings()
    options.pop("expires")
    broker, _ = application(os.environ["TESTS_BROKER"], os.environ["TESTS_STORE"], **options)
    dramatiq.set_broker(broker)
