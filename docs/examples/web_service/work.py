"""
The worker's side: one function that runs as a task. It is called in a process of its own.
"""

import time

import coatcheck


def count_words(task_id: str, text: str) -> None:
    """
    Count the words of *text*, slowly.
    """
    with coatcheck.by_url() as results, results.running(task_id, heartbeat=1) as task:
        words = text.split()
        if not words:
            raise ValueError("there are no words")
        for number, _ in enumerate(words, start=1):
            time.sleep(0.1)
            task.progress(number, len(words))
        task.result = {"words": len(words)}
