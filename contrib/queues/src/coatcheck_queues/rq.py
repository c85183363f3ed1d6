"""
RQ: worker classes that store the outcome of each job under its id.

    COATCHECK_URL=redis://localhost:6379/1 rq worker --worker-class coatcheck_queues.rq.Worker
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from rq import Retry, worker
from rq.job import Job

from coatcheck import Results

from .runs import HEARTBEAT, Aborted, Runs


class StoresResults:
    """
    A base for worker classes, before RQ's. Subclasses may set the class attributes.

    Outcomes are stored before RQ's own, and before a job is queued again.
    """

    #: A URL, or the `coatcheck.Results` to store with; by default `COATCHECK_URL`.
    coatcheck_results: ClassVar[Results | str | None] = None
    #: The seconds between two signs of life of a running job; `None` gives none.
    coatcheck_heartbeat: ClassVar[float | None] = HEARTBEAT
    #: Options of `coatcheck.by_url`, such as `expires`.
    coatcheck_options: ClassVar[dict[str, Any]] = {}

    _stopped_job_id: str | None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.runs = Runs(self.coatcheck_results, self.coatcheck_heartbeat, self.coatcheck_options)

    def prepare_job_execution(self, job: Job, *args: Any, **how: Any) -> None:
        """Record STARTED. In the process of the job, if it has its own."""
        super().prepare_job_execution(job, *args, **how)  # type: ignore[misc]
        self.runs.begin(
            job.id,
            name=job.func_name,
            queue=job.origin,
            retries=getattr(job, "number_of_retries", None),
        )

    def handle_job_success(self, job: Job, *args: Any, **how: Any) -> None:
        """Record the value."""
        self.runs.end(job.id, job._result)  # noqa: SLF001 - which RQ stores next, and nobody else has
        super().handle_job_success(job, *args, **how)  # type: ignore[misc]

    def handle_job_retry(self, job: Job, *args: Any, **how: Any) -> None:
        """Record RETRY for a job that returned `Retry`, or a failure if it did so too often."""
        retry = next(given for given in (*args, *how.values()) if isinstance(given, Retry))
        again = (job.number_of_retries or 0) < retry.max
        self.runs.end(job.id, error=RuntimeError("the job returned Retry"), again=again)
        super().handle_job_retry(job, *args, **how)  # type: ignore[misc]

    def handle_job_failure(self, job: Job, *args: Any, **how: Any) -> None:
        """Record the failure, or RETRY. The worker itself comes here if the process of a job was killed."""
        if self._stopped_job_id == job.id:
            self.runs.end(job.id, error=Aborted("stopped"))
        elif (error := sys.exception()) is not None or job.should_retry:
            self.runs.end(job.id, error=error or Aborted("killed"), again=job.should_retry)
        else:
            self.runs.lost(job.id, "the process of the job was killed")
        super().handle_job_failure(job, *args, **how)  # type: ignore[misc]


class Worker(StoresResults, worker.Worker):
    """RQ's worker, which forks for each job."""


class SimpleWorker(StoresResults, worker.SimpleWorker):
    """RQ's worker that runs jobs in its own process."""
