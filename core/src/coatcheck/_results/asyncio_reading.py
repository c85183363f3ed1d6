"""
Reading records in asyncio, see `coatcheck._results.reading`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any

from .._backends.asyncio_backend import Backend
from .._backends.portions import Portions, Reading
from .._record.documents import checked_id
from .._record.meta import ResultMeta
from ..errors import BackendUnavailableError, PartlyUnavailableError
from .base import ResultsBase


class Reads(ResultsBase):
    """The methods of `Results` that read."""

    backend: Backend[ResultMeta]
    _portions: Portions

    async def get_task_meta(self, task_id: str) -> ResultMeta:
        """See `coatcheck.Results.get_task_meta`."""
        found = await self.backend.get_many([checked_id(task_id)])
        return found.get(task_id) or self._codec.unknown(task_id)

    async def get_many(self, task_ids: Iterable[str]) -> dict[str, ResultMeta]:
        """See `coatcheck.Results.get_many`."""
        ids = [checked_id(task_id) for task_id in task_ids]
        found: dict[str, ResultMeta] = {}
        async with aclosing(self._read(dict.fromkeys(ids))) as reads:
            async for _, metas in reads:
                found.update(metas)
        return {id_: found.get(id_) or self._codec.unknown(id_) for id_ in ids}

    async def _snapshots(self, ids: Iterable[str]) -> AsyncGenerator[ResultMeta, None]:
        """Iterate over a snapshot for each of *ids*. Holds a bounded number of them at a time."""
        async with aclosing(self._read(ids)) as reads:
            async for portion, metas in reads:
                for id_ in portion:
                    yield metas.get(id_) or self._codec.unknown(id_)

    async def _read(
        self, ids: Iterable[str]
    ) -> AsyncGenerator[tuple[list[str], dict[str, ResultMeta]], None]:
        """Iterate over the reads of *ids*: the ids of each read, and the records found."""
        reading = Reading(self._portions, ids)
        while portion := reading.next():
            try:
                metas = await self.backend.get_many(portion)
            except PartlyUnavailableError:
                raise
            except BackendUnavailableError as error:
                reading.failed(error)
            else:
                reading.came(metas.values())
                yield portion, metas

    async def exists(self, task_id: str) -> bool:
        """See `coatcheck.Results.exists`."""
        return (await self.get_task_meta(task_id)).known

    async def get_state(self, task_id: str) -> str:
        """See `coatcheck.Results.get_state`."""
        return (await self.get_task_meta(task_id)).status

    async def get_result(self, task_id: str) -> Any:
        """See `coatcheck.Results.get_result`."""
        return (await self.get_task_meta(task_id)).result

    async def get_traceback(self, task_id: str) -> str | None:
        """See `coatcheck.Results.get_traceback`."""
        return (await self.get_task_meta(task_id)).traceback
