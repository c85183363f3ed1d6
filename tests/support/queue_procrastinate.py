"""
Procrastinate's app and tasks, for its worker and for the tests that send.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

from procrastinate import App, JobContext, PsycopgConnector, RetryStrategy
from procrastinate.exceptions import JobAborted

from coatcheck.testing import jobs
from coatcheck_queues.procrastinate import JobResults, attach

from .queue_settings import settings


def work(job: str, arguments: list[str]) -> Any:
    """Run a job, in a thread."""
    return jobs.work(job, *arguments)


async def sleeping() -> None:
    """Sleep until the job is aborted."""
    await asyncio.sleep(jobs.EXPIRES)


async def asking(context: JobContext) -> None:
    """Ask whether the job is aborted."""
    while not context.should_abort():
        await asyncio.sleep(0.01)
    raise JobAborted


def application(url: str, store: str, **options: Any) -> tuple[App, JobResults]:
    """Return an app with the tasks, and their results."""
    app = App(connector=PsycopgConnector(conninfo=url))
    app.task(name="work")(work)
    app.task(name="again", retry=RetryStrategy(max_attempts=1))(work)
    app.task(name="sleeping")(sleeping)
    app.task(name="asking", pass_context=True)(asking)
    return app, attach(app, store, **options)


def main() -> None:
    """Run a worker."""
    logging.basicConfig(level=logging.INFO)
    app, _ = application(os.environ["TESTS_BROKER"], os.environ["TESTS_STORE"], **settings())
    app.run_worker(concurrency=4, fetch_job_polling_interval=0.2, abort_job_polling_interval=0.2)


if __name__ == "__main__":
    main()
