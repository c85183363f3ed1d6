"""
The jobs that the worker of an adapter's proof runs, and a record of its states: see `testing.queues`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from .._record.meta import ResultMeta
from .._results.hooks import hookimpl
from .patience import PATIENCE

#: The seconds between two signs of life of the worker, and the life of its records.
HEARTBEAT: Final = 1.0
EXPIRES: Final = 600.0

#: A value of each kind that every serializer keeps.
VALUES: Final[Mapping[str, Any]] = {
    "number": 2**60, "float": 0.1, "text": "naïve ✓", "yes": True, "bytes": b"\x00\xff", "empty": "",
    "list": [1, [2.5, None]], "dict": {"a": {"b": []}}, "date": datetime(2026, 11, 30, 12, tzinfo=UTC),
    "time": timedelta(seconds=1.5), "decimal": Decimal("0.10"), "uuid": UUID(int=7), "set": {1, 2},
    "like a failure": {"__t": "dramatiq.results.Result", "exn": {"type": "E", "msg": ""}},
}  # fmt: skip


class PrinterError(Exception):
    """An error that no reader of a proof has."""


def value(name: str) -> Any:
    """Return one of `VALUES`."""
    return VALUES[name]


def nothing() -> None:
    """Return `None`."""


def fail(kind: str) -> None:
    """Raise an error of the language, or one of an application."""
    raise ValueError("no paper", 7) if kind == "builtin" else PrinterError("no paper", 7)


def flaky(mark: str) -> str:
    """Fail the first time, and leave *mark*."""
    if Path(mark).exists():
        return "second"
    Path(mark).touch()
    raise OSError("busy")


def hold(gate: str) -> str:
    """Wait until the file *gate* is there."""
    deadline = time.monotonic() + PATIENCE
    while not Path(gate).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return "released"


def opaque() -> object:
    """Return a value that cannot be stored."""
    return object()


JOBS: Final[Mapping[str, Callable[..., Any]]] = {
    job.__name__: job for job in (value, nothing, fail, flaky, hold, opaque)
}


def work(job: str, *arguments: str) -> Any:
    """Run one of the jobs. The worker needs no other task."""
    return JOBS[job](*arguments)


class Recorder:
    """A plugin of the worker's `Results` that writes down the states stored, in the file *path*."""

    def __init__(self, path: str) -> None:
        self._path = path

    @hookimpl
    def stored(self, meta: ResultMeta, won: bool) -> None:  # noqa: FBT001 - the hook's signature
        """Add one line. Several processes may."""
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(file, f"{meta.task_id} {meta.status} {won}\n".encode())
        os.close(file)

    def states(self, task_id: str) -> list[str]:
        """Return the states stored for a task, in order; one that was stored again only once."""
        path = Path(self._path)
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        found = [status for id_, status, won in lines if id_ == task_id and won == "True"]
        return [s for n, s in enumerate(found) if n == 0 or s != found[n - 1]]
