"""
A function for services that start a process for each event and may freeze or end it afterwards.

It is called with an event such as {"task_id": "t1", "numbers": [1, 2]}.
"""

import coatcheck


def handler(event: dict[str, object], _context: object = None) -> dict[str, object]:
    """
    Work, store the result, and leave no connection open.
    """
    task_id, numbers = str(event["task_id"]), event["numbers"]
    # Both are over at the end of the block: the outcome is stored, and the connections are closed.
    with coatcheck.by_url(operation_timeout=2) as results, results.running(task_id) as task:
        if not isinstance(numbers, list):
            raise TypeError("numbers must be a list")
        task.result = sum(numbers)
    return {"task_id": task_id, "stored": task.won}
