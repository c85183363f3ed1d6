"""
A process with a scheduler of APScheduler 3, which takes jobs from a list in Redis.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import redis
from apscheduler.schedulers.background import BackgroundScheduler

from coatcheck.testing import jobs
from coatcheck_queues.apscheduler import attach

from .queue_settings import settings


def main() -> None:
    """Schedule each job that comes for the time it names."""
    scheduler = BackgroundScheduler(timezone=UTC)
    attach(scheduler, os.environ["TESTS_STORE"], **settings())
    scheduler.start()
    connection = redis.Redis.from_url(os.environ["TESTS_BROKER"])
    print("ready")
    while True:
        _, line = connection.blpop("jobs")
        job_id, when, arguments = json.loads(line)
        run_date = datetime.fromisoformat(when)
        grace = 1 if run_date < datetime.now(UTC) - timedelta(hours=1) else 60
        scheduler.add_job(
            jobs.work,
            "date",
            run_date=run_date,
            args=arguments,
            id=job_id,
            misfire_grace_time=grace,
        )


if __name__ == "__main__":
    main()
