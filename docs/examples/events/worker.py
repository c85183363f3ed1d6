"""
A worker that tells what it does: `python worker.py ID`. The store is the one of COATCHECK_URL.
"""

from __future__ import annotations

import sys

import coatcheck

PAGES = ["cover", "index", "appendix"]


def main(task_id: str) -> None:
    """Print a book, page by page, as the task *task_id*."""
    with coatcheck.by_url() as results, results.running(task_id, heartbeat=1) as task:
        for number, page in enumerate(PAGES, 1):
            task.emit({"page": page, "ink": 1 - number / 10}, kind="printed")
            task.progress(number, len(PAGES))
        task.result = f"{len(PAGES)} pages"


if __name__ == "__main__":
    main(sys.argv[1])
