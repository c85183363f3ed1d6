"""
Reading records, for synchronous code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .._backends.backend import Backend
from .._backends.portions import Portions, Reading
from .._record.documents import checked_id
from .._record.meta import ResultMeta
from ..errors import BackendUnavailableError, PartlyUnavailableError
from .base import ResultsBase


class Reads(ResultsBase):
    """The methods of `Results` that read."""

    backend: Backend[ResultMeta]
    _portions: Portions

    def get_task_meta(self, task_id: str) -> ResultMeta:
        """Return a snapshot of the record. `meta.known` is `False` if nothing is stored."""
        found = self.backend.get_many([checked_id(task_id)])
        return found.get(task_id) or self._codec.unknown(task_id)

    def get_many(self, task_ids: Iterable[str]) -> dict[str, ResultMeta]:
        """Return a snapshot for each id, in their order, in few round trips."""
        ids = [checked_id(task_id) for task_id in task_ids]
        found: dict[str, ResultMeta] = {}
        for _, metas in self._read(dict.fromkeys(ids)):
            found.update(metas)
        return {id_: found.get(id_) or self._codec.unknown(id_) for id_ in ids}

    def _snapshots(self, ids: Iterable[str]) -> Iterator[ResultMeta]:
        """Iterate over a snapshot for each of *ids*. Holds a bounded number of them at a time."""
        for portion, metas in self._read(ids):
            for id_ in portion:
                yield metas.get(id_) or self._codec.unknown(id_)

    def _read(self, ids: Iterable[str]) -> Iterator[tuple[list[str], dict[str, ResultMeta]]]:
        """Iterate over the reads of *ids*: the ids of each read, and the records found."""
        reading = Reading(self._portions, ids)
        while portion := reading.next():
            try:
                metas = self.backend.get_many(portion)
            except PartlyUnavailableError:
                raise
            except BackendUnavailableError as error:
                reading.failed(error)
            else:
                reading.came(metas.values())
                yield portion, metas

    def exists(self, task_id: str) -> bool:
        """Whether anything is stored for the task."""
        return self.get_task_meta(task_id).known

    def get_state(self, task_id: str) -> str:
        """Return the state; PENDING where nothing is stored."""
        return self.get_task_meta(task_id).status

    def get_result(self, task_id: str) -> Any:
        """Return the value, the info of an unready task, or the exception of a failed one."""
        return self.get_task_meta(task_id).result

    def get_traceback(self, task_id: str) -> str | None:
        """Return the formatted traceback of a failed task."""
        return self.get_task_meta(task_id).traceback
