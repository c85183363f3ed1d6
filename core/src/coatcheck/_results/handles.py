"""
Handles: one task id, or several, and where to ask.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

from .._record.documents import checked_id
from .._record.meta import ResultMeta
from .misuse import HoldsConnections, called

if TYPE_CHECKING:
    from datetime import datetime

    from .results import Results

T = TypeVar("T")


class Handle(HoldsConnections, Generic[T]):
    """The common base of the handles of both sides. No I/O."""

    __slots__ = ("_meta", "_type", "task_id")

    def __init__(self, task_id: str, type: Any = None) -> None:  # noqa: A002 - a good name
        self.task_id: str = checked_id(task_id)
        self._meta: ResultMeta | None = None
        self._type = type

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and other.task_id == self.task_id

    def __hash__(self) -> int:
        return hash(self.task_id)

    @property
    def id(self) -> str:
        """The task id."""
        return self.task_id

    @property
    def known_meta(self) -> ResultMeta | None:
        """The ready record, once it was read; `None` before. No I/O."""
        return self._meta

    def _value_of(self, meta: ResultMeta, *, propagate: bool = False, wrap: bool = False) -> Any:
        """Return the value of *meta* as the type of this handle; see `AsyncResult.get`."""
        value = meta.get(wrap=wrap) if propagate else meta.result
        if self._type is None or not meta.successful:
            return value
        from .._record.typed import converted  # noqa: PLC0415 - few handles have a type

        return converted(self.task_id, value, self._type)

    def remember(self, meta: ResultMeta) -> ResultMeta:
        """Take in a snapshot that was read elsewhere; a ready one saves further reads."""
        if meta.ready:
            self._meta = meta
        return meta


class AsyncResult(Handle[T]):
    """
    A handle on one task: not about asyncio, but the name the field uses.

    Every property is a read of its own until the task is ready, then none. Take `meta()` for
    several fields of one moment.
    """

    __slots__ = ("_results",)

    _elsewhere = (
        "pass its task id and the URL, and call coatcheck.by_url(url).AsyncResult(task_id) there"
    )

    def __init__(self, results: Results, task_id: str, type: Any = None) -> None:  # noqa: A002
        super().__init__(task_id, type)
        self._results = results

    def __repr__(self) -> str:
        return f"<AsyncResult {self.task_id!r}>"

    def meta(self) -> ResultMeta:
        """Return one snapshot of the record."""
        if self._meta is not None:
            return self._meta
        return self.remember(self._results.get_task_meta(self.task_id))

    @called
    def ready(self) -> bool:
        """Whether the task is over."""
        return self.meta().ready

    @called
    def successful(self) -> bool:
        """Whether the task ended in SUCCESS."""
        return self.meta().successful

    @called
    def failed(self) -> bool:
        """Whether the task ended in FAILURE."""
        return self.meta().failed

    @called
    def exists(self) -> bool:
        """Whether anything is stored for the task."""
        return self.meta().known

    @property
    def state(self) -> str:
        """The task's state; PENDING where nothing is stored."""
        return self.meta().status

    @property
    def status(self) -> str:
        """The same as `state`."""
        return self.state

    @property
    def result(self) -> Any:
        """The value, the progress information, or the exception of a failed task. Never waits."""
        return self._value_of(self.meta())

    @property
    def info(self) -> Any:
        """The same as `result`."""
        return self.result

    @property
    def traceback(self) -> str | None:
        """The formatted traceback of a failed task."""
        return self.meta().traceback

    @property
    def date_done(self) -> datetime | None:
        """When the task became ready, in UTC."""
        return self.meta().date_done

    @overload
    def get(
        self,
        timeout: float | None = None,
        *,
        interval: float | None = None,
        on_interval: Callable[[], object] | None = None,
        missing: Literal["wait", "raise"] = "wait",
        propagate: Literal[True] = True,
        wrap: bool = False,
    ) -> T: ...
    @overload
    def get(
        self,
        timeout: float | None = None,
        *,
        interval: float | None = None,
        on_interval: Callable[[], object] | None = None,
        missing: Literal["wait", "raise"] = "wait",
        propagate: bool,
        wrap: bool = False,
    ) -> T | Exception: ...
    def get(
        self,
        timeout: float | None = None,
        *,
        interval: float | None = None,
        on_interval: Callable[[], object] | None = None,
        missing: Literal["wait", "raise"] = "wait",
        propagate: bool = True,
        wrap: bool = False,
    ) -> T | Exception:
        """
        Wait for the value and return it, or raise the task's exception.

        Args:
            timeout: seconds; `None` waits, 0 looks once. Then `WaitTimeoutError` is raised.
            interval: seconds between calls of *on_interval*.
            missing: `"raise"` raises `UnknownTaskError` at once if nothing is stored.
            propagate: `False` returns the exception instead of raising it.
            wrap: always raise a `TaskError`, with the original exception as data.
        """
        meta = self._meta or self.remember(
            self._results._wait(  # noqa: SLF001 - its handle
                self.task_id, timeout, interval, on_interval, must_exist=missing == "raise"
            )
        )
        return cast("T | Exception", self._value_of(meta, propagate=propagate, wrap=wrap))

    def check_alive(self) -> bool | None:
        """See `Results.check_alive`."""
        return self._results.check_alive(self.task_id)

    def updates(self, timeout: float | None = None) -> Generator[ResultMeta, None, None]:
        """
        Iterate over the task's states and progress as they change, up to the ready one.

        Two changes between two looks may be seen as one. Raises `WaitTimeoutError` *timeout* seconds after
        the start.
        """
        for meta in self._results._updates(self.task_id, timeout):  # noqa: SLF001 - its handle
            yield self.remember(meta)

    def forget(self) -> bool:
        """Delete the record; `False` if there was none."""
        self._meta = None
        return self._results.forget(self.task_id)
