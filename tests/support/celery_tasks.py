"""
An application of Celery: the tasks that the tests' workers run, and that the tests call.

It says nothing of coatcheck. A worker is told where broker and results are by its environment.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from celery import Celery, chord, group
from celery.exceptions import Ignore, Reject
from celery.result import allow_join_result
from kombu.serialization import register
from kombu.utils.encoding import bytes_to_str

# A serializer of the application's own.
register(
    "headed",
    lambda value: f"headed:{json.dumps(value)}",
    lambda data: json.loads(bytes_to_str(data).removeprefix("headed:")),
    content_type="application/x-headed",
    content_encoding="utf-8",
)

#: The tasks: functions, and their options.
TASKS: list[tuple[Callable[..., Any], dict[str, Any]]] = []


def application(broker: str, backend: str, **conf: Any) -> Celery:
    """
    Return an application with these addresses. Its tasks are attributes of `app.t`.
    """
    app = Celery("tests", broker=broker, backend=backend, set_as_current=False)
    settings = {"broker_connection_retry_on_startup": True, "task_track_started": True}
    app.conf.update({**settings, "result_extended": True, **conf})
    made = {run.__name__: app.task(run, name=run.__name__, **more) for run, more in TASKS}
    app.t = SimpleNamespace(**made)
    return app


def task(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """
    Have a function be a task of every application.
    """

    def add_to_tasks(run: Callable[..., Any]) -> Callable[..., Any]:
        TASKS.append((run, options))
        return run

    return add_to_tasks


class Refused(ValueError):
    """An exception of the application."""


@task()
def add(x: Any, y: Any) -> Any:
    return x + y


@task()
def same(value: Any) -> Any:
    return value


@task()
def total(values: list[Any]) -> Any:
    return sum(total(value) if isinstance(value, list) else value for value in values)


@task()
def fail(*args: Any) -> None:
    raise Refused(*args)


@task()
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@task()
def unencodable() -> Any:
    return {1, 2}


@task(bind=True)
def progress(self: Any, steps: int) -> str:
    for step in range(steps):
        self.update_state(state="half way", meta={"step": step})
        time.sleep(0.1)
    return "done"


@task(bind=True)
def own_failure(self: Any) -> None:
    meta = {"exc_type": "Refused", "exc_message": ["by hand"], "exc_module": __name__}
    self.update_state(state="FAILURE", meta=meta)
    raise Ignore


@task()
def reject() -> None:
    raise Reject("no", requeue=False)


@task(bind=True, max_retries=2, default_retry_delay=0.1)
def retried(self: Any) -> int:
    if self.request.retries < 2:
        raise self.retry(exc=KeyError("again"))
    return self.request.retries


@task(bind=True)
def children(self: Any, n: int) -> list[str]:
    return [self.app.t.add.delay(i, i).id for i in range(n)]


@task(ignore_result=True)
def ignored(value: Any) -> Any:
    return value


@task(bind=True)
def replaced(self: Any, n: int) -> None:
    t = self.app.t
    raise self.replace(group(t.add.s(i, i) for i in range(n)) | t.total.s())


@task(bind=True)
def extended(self: Any, value: Any) -> Any:
    self.add_to_chord(self.app.t.same.s(value * 10))
    return value


@task(bind=True)
def waits(self: Any, n: int) -> list[Any]:
    with allow_join_result():
        return [self.app.t.add.delay(i, i).get(timeout=10) for i in range(n)]


@task(bind=True)
def starts_chord(self: Any, n: int) -> str:
    t = self.app.t
    return chord([t.add.s(i, i) for i in range(n)], t.total.s()).delay().id


@task()
def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task()
def killed_counting(where: str) -> str:
    """Let the process be killed while it counts, after all others are over."""
    from coatcheck_celery import chords

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    time.sleep(0.5)
    if where == "before the look":
        chords.Chord._parts_if_complete = die
    else:
        chords.Completion.read = die
    return where


@task(acks_late=True, reject_on_worker_lost=True, bind=True)
def killed_once(self: Any) -> str:
    if not self.request.delivery_info["redelivered"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return "second"


@task()
def note(path: str, *args: Any) -> None:
    with Path(path).open("a", encoding="utf-8") as file:
        file.write("x")


def end_with(parent: int) -> None:
    """
    Let this process and its children end when the tests that started it are gone.
    """
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


if "TESTS_BROKER" in os.environ:
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    app = application(os.environ["TESTS_BROKER"], os.environ["TESTS_BACKEND"])
