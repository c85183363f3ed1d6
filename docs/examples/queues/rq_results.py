"""
RQ: a job class that stores the outcome of each job with coatcheck.

    COATCHECK_URL=redis://localhost:6379/1 rq worker --job-class rq_results.StoredJob
"""

from functools import cache

from rq.job import Job

import coatcheck


@cache
def results() -> coatcheck.Results:
    """
    Return the results of this process. RQ forks for each job; coatcheck notices that.
    """
    return coatcheck.by_url()


class StoredJob(Job):
    """
    Runs as a task of coatcheck, with the job's id.
    """

    def perform(self):
        """
        Run the job and store its value or its failure.
        """
        with results().running(self.id, name=self.func_name, heartbeat=10) as task:
            task.result = super().perform()
        return task.result
