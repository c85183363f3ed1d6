"""
The outcome of a chaos run: counts, lateness, and violations of the promises.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import CoatcheckError
from .lateness import Lateness

#: An operation this many seconds over its time hangs, on any machine.
HANGS: Final = 10.0
#: The most violations that a report lists.
_LISTED: Final = 100


@dataclass
class Report:
    """The outcome of a run. The store kept its promises if `violations` is empty."""

    store: str
    operations: int = 0
    seconds: float = 0.0
    ids: int = 0
    winners: int = 0
    refused: int = 0
    unanswered: int = 0
    confirmed: int = 0
    lost_with_the_store: int = 0
    waits_served: int = 0
    waits_timed_out: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    messages: dict[str, str] = field(default_factory=dict)
    threads_lateness: Lateness = field(default_factory=Lateness)
    tasks_lateness: Lateness = field(default_factory=Lateness)
    overruns: Lateness = field(default_factory=Lateness)
    machine: Lateness = field(default_factory=Lateness)
    samples: list[dict[str, Any]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def told(self) -> dict[str, Any]:
        """Return the report as plain data."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["seconds"] = round(self.seconds, 1)
        return {k: v.told() if isinstance(v, Lateness) else v for k, v in values.items()}

    def count(self, operations: int = 1, **counts: int) -> None:
        """Add to the counts, from any thread."""
        with self._lock:
            self.operations += operations
            for name, number in counts.items():
                setattr(self, name, getattr(self, name) + number)

    def violate(self, text: str) -> None:
        """Add a violation, from any thread."""
        with self._lock:
            if len(self.violations) < _LISTED:
                self.violations.append(text)

    def fail(self, error: BaseException) -> None:
        """Count an error of ours; report any other as a violation."""
        name = type(error).__name__
        with self._lock:
            self.errors[name] += 1
            self.messages.setdefault(name, str(error)[:300])
        if not isinstance(error, CoatcheckError):
            self.violate(f"an error that is not ours: {_origin(error)}")

    def late(self, lateness: Lateness, deadline: float, what: str) -> None:
        """Add the time since *deadline* to *lateness*; much of it is a violation."""
        seconds = time.monotonic() - deadline
        lateness.add(seconds)
        if seconds > HANGS:
            self.violate(f"{what} hung {seconds:.1f} s over its time")


@contextmanager
def troubles(report: Report) -> Iterator[None]:
    """Report logged errors, dead threads and unraisable exceptions as violations."""

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            report.violate(f"logged: {record.getMessage()} {_origin(error) if error else ''}")

    listener, logger = Listener(logging.ERROR), logging.getLogger("coatcheck")
    hooks = threading.excepthook, sys.unraisablehook
    threading.excepthook = lambda a: report.violate(f"a thread ended: {_origin(a.exc_value)}")
    sys.unraisablehook = lambda a: report.violate(f"unraisable: {a.err_msg} {a.exc_value!r}")
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        threading.excepthook, sys.unraisablehook = hooks


def _origin(error: BaseException | None) -> str:
    return "?" if error is None else "".join(traceback.format_exception(error))[-3000:]
