"""
Runs in an environment with Celery, without the tests: answers requests line by line, in JSON.

A request is a list: a name and arguments; the answer is `{"ok": ...}` or `{"error": ...}`. The first
line holds Celery's settings. Values that JSON lacks are tagged as in the captured records.
"""

import base64
import json
import os
import sys
import traceback
from datetime import date, datetime, time
from decimal import Decimal
from uuid import UUID

from celery import Celery, __version__
from celery.result import AsyncResult, GroupResult, ResultBase


def tagged(value):  # noqa: PLR0911
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value % 1 else {"$float": repr(value)}
    if isinstance(value, list):
        return [tagged(item) for item in value]
    if isinstance(value, tuple):
        return {"$tuple": [tagged(item) for item in value]}
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        return {"$dict": [[tagged(key), tagged(item)] for key, item in value.items()]}
    if isinstance(value, dict):
        return {str(key): tagged(item) for key, item in value.items()}
    if isinstance(value, BaseException):
        kind = type(value)
        return {
            "$exception": {
                "module": kind.__module__,
                "qualname": kind.__qualname__,
                "args": tagged(tuple(value.args)),
                "str": str(value),
            }
        }
    if isinstance(value, ResultBase):
        return result(value)
    return simple(value)


def simple(value):
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return {"$datetime": value.isoformat(), "aware": value.tzinfo is not None}
    for kind in (date, time):
        if isinstance(value, kind):
            return {f"${kind.__name__}": value.isoformat()}
    for kind in (Decimal, UUID):
        if isinstance(value, kind):
            return {f"${kind.__name__.lower()}": str(value)}
    return {"$other": {"type": type(value).__qualname__, "repr": repr(value)}}


def result(value):
    if isinstance(value, GroupResult):
        return {"$groupresult": {"id": value.id, "results": [result(r) for r in value.results]}}
    return {"$asyncresult": {"id": value.id}}


def outcome(call):
    """Return the answer of *call*, or its error."""
    try:
        return {"returns": tagged(call())}
    except BaseException as error:
        return {"raises": tagged(error)}


class Side:
    """The requests that it serves."""

    def __init__(self, settings):
        self.app = Celery("side", set_as_current=True)
        self.app.conf.update({"broker_url": "memory://", **settings})
        self.backend = self.app.backend
        self.handles = []

    def handle(self, task_id):
        """A handle that stays: in Celery 5.4 its collection may block for good."""
        self.handles.append(AsyncResult(task_id))
        return self.handles[-1]

    def version(self):
        return __version__

    def made(self):
        """What Celery's backend was made with."""
        backend = self.backend
        prefix = getattr(backend, "task_keyprefix", None)
        return {
            "expires": backend.expires,
            "serializer": backend.serializer,
            "accept": sorted(backend.accept),
            "key_prefix": prefix.decode() if isinstance(prefix, bytes) else prefix,
        }

    def read(self, task_id):
        """Everything that an `AsyncResult` says of the task."""
        fields = "state result traceback children date_done name args kwargs worker retries queue"
        found = self.handle(task_id)
        read = {field: tagged(getattr(found, field)) for field in fields.split()}
        flags = {flag: getattr(found, flag)() for flag in ("ready", "successful", "failed")}
        return {**read, **flags}

    def meta(self, task_id):
        return tagged(self.backend.get_task_meta(task_id, cache=False))

    def get(self, task_id, timeout):
        return outcome(lambda: self.handle(task_id).get(timeout=timeout))

    def store(self, task_id, value, state="SUCCESS"):
        self.backend.store_result(task_id, value, state)

    def fail(self, task_id, name, args):
        """Store a failure; its class is a builtin one, or made here."""
        import builtins

        made = getattr(builtins, name, None) or type(name, (Exception,), {"__module__": "app"})
        self.backend.mark_as_failure(task_id, made(*args), traceback="Traceback text")

    def save_group(self, group_id, task_ids):
        GroupResult(group_id, [self.handle(task_id) for task_id in task_ids]).save()

    def restore_group(self, group_id):
        return tagged(GroupResult.restore(group_id, self.backend))

    def join_group(self, group_id, timeout):
        found = GroupResult.restore(group_id, self.backend)
        found = found if isinstance(found, GroupResult) else GroupResult(group_id, found)
        self.handles.append(found)
        return outcome(lambda: found.get(timeout=timeout, disable_sync_subtasks=False))

    def send(self, task_id, task, arguments):
        """Send a task to a worker."""
        self.handles.append(self.app.send_task(task, arguments, task_id=task_id))

    def send_for(self, task_id, task, arguments, reply_to):
        """Send a task with the reply queue *reply_to*."""
        self.app.send_task(task, arguments, task_id=task_id, reply_to=reply_to, ignore_result=False)

    def reply_queue(self):
        """Declare the queue of this process, as sending a task does, and return its name."""
        with self.app.producer_pool.acquire(block=True) as producer:
            self.backend.on_task_call(producer, None)
        return self.backend.oid

    def forget(self, task_id):
        self.handle(task_id).forget()


def main():
    # What Celery or a driver prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    side = Side(json.loads(sys.stdin.readline()))
    answers.write(json.dumps({"ok": side.version()}) + "\n")
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = {"ok": getattr(side, name)(*arguments)}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
    os._exit(0)  # see `handle`


if __name__ == "__main__":
    main()
