"""
The calls of a backend in a test, with their answers: a failure shows the last of them.
"""

from __future__ import annotations

import inspect
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from itertools import islice
from typing import Any, Final

from .._backends.backend import Anything
from .._record.meta import ResultMeta
from ..states import READY_STATES

#: The operations that are recorded.
OPERATIONS: Final = (
    "put", "put_many", "get_many", "delete_many", "watch", "scan", "append", "get_log",
    "purge", "close",
)  # fmt: skip
#: How many of them a failure shows.
SHOWN: Final = 20
#: How many values of a batch it shows, and how many characters of one.
FEW: Final = 3
LONG: Final = 60


class Journal:
    """The operations of some backends, in the order of their beginnings. For any thread."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._entries: deque[list[str]] = deque(maxlen=SHOWN)

    def record(self, backend: Any) -> None:
        """Write down the calls of *backend* from now on. One without a `__dict__` is left alone."""
        for name in OPERATIONS:
            method = getattr(type(backend), name, None)
            if method is not None and hasattr(backend, "__dict__"):
                setattr(backend, name, self._recorded(method, weakref.ref(backend)))

    def _recorded(self, method: Callable[..., Any], backend: weakref.ref[Any]) -> Any:
        # By a weak reference: a backend that is dropped goes at once, as it would otherwise.
        if inspect.iscoroutinefunction(method):

            @wraps(method)
            async def operation(*args: Any, **options: Any) -> Any:
                with self._entry(method.__name__, args, options) as answers:
                    answers.append(await method(backend(), *args, **options))
                return answers[0]
        else:

            @wraps(method)
            def operation(*args: Any, **options: Any) -> Any:
                with self._entry(method.__name__, args, options) as answers:
                    answers.append(method(backend(), *args, **options))
                return answers[0]

        return operation

    @contextmanager
    def _entry(self, name: str, args: Any, options: dict[str, Any]) -> Iterator[list[Any]]:
        named = (f"{key}={_shown(v)}" for key, v in options.items() if key != "if_match" or v)
        given = ", ".join([*map(_shown, args), *named])
        at, thread = time.monotonic() - self._began, threading.current_thread().name
        entry = [f"{at:8.3f} s  {thread}: {name}({given})", "(no answer yet)"]
        self._entries.append(entry)
        answers: list[Any] = []
        try:
            yield answers
        except BaseException as error:
            entry[1] = f"raised {error!r}"
            raise
        entry[1] = _shown(answers[0])

    def text(self) -> str:
        """Return the last operations, one a line."""
        return "\n".join(f"{call} -> {answer}" for call, answer in list(self._entries))


def _shown(value: Any) -> str:
    if isinstance(value, ResultMeta):
        return f"<{value.status} of {value.task_id!r}>"
    if value == READY_STATES or isinstance(value, Anything):
        return "READY_STATES" if value == READY_STATES else "ANY"
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    if isinstance(value, Mapping):
        return _some(value, lambda key: f"{_shown(key)}: {_shown(value[key])}", "{}")
    if isinstance(value, Collection) and not isinstance(value, str | bytes):
        return _some(value, _shown, "[]")
    text = repr(value)
    return text if len(text) <= LONG else f"{text[:LONG]}..."


def _some(values: Collection[Any], show: Callable[[Any], str], brackets: str) -> str:
    shown = [show(value) for value in islice(values, FEW)]
    more = [f"and {len(values) - FEW} more"] if len(values) > FEW else []
    return f"{brackets[0]}{', '.join([*shown, *more])}{brackets[1]}"
