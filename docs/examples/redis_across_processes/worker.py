"""
A worker: takes task numbers from standard input, works, and leaves the results in Redis.

The queue between client and workers is a pipe here; in an application it is the application's own queue. coatcheck is only where the results go.
"""

from __future__ import annotations

import hashlib
import os
import sys

import coatcheck

#: Seconds between signs of life; who waits notices three that did not come.
HEARTBEAT = 1.0
BATCH = 100


def work(number: int) -> str:
    """
    Return the digest of a number, a thousand times over.
    """
    digest = str(number).encode()
    for _ in range(1000):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()


def vanish(results: coatcheck.Results, task_id: str) -> None:
    """
    Start a task and die in the middle of it, as a worker does that is killed.
    """
    results.running(task_id, heartbeat=HEARTBEAT).__enter__()
    os.kill(os.getpid(), 9)


def main() -> None:
    """
    Work until the input ends. "die ID" is the order to be killed while working on that task.
    """
    with coatcheck.by_url() as results:  # the URL is in COATCHECK_URL
        done: dict[str, object] = {}
        for line in sys.stdin:
            task_id, _, number = line.strip().partition(" ")
            if task_id == "die":
                results.store_many(done)
                vanish(results, number)
            done[task_id] = {"number": int(number), "digest": work(int(number)), "by": os.getpid()}
            if len(done) == BATCH:
                results.store_many(done)
                done = {}
        results.store_many(done)


if __name__ == "__main__":
    main()
