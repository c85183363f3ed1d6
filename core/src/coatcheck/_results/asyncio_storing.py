"""
Storing and deleting records in asyncio, see `coatcheck._results.storing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack

from .. import states
from .._backends.asyncio_backend import Backend
from .._backends.backend import ANY, Anything
from .._backends.portions import BATCH
from .._record.documents import AllFields, checked_id
from .._record.meta import ResultMeta
from .._settings.durations import Expires
from .._settings.options import DEFAULT, Default
from ..errors import EncodeError, ResultTooLargeError
from .base import ResultsBase
from .writing import Draft, Stored


class Storing(ResultsBase):
    """The methods of `Results` that write and delete."""

    backend: Backend[ResultMeta]

    async def store_result(
        self,
        task_id: str,
        result: Any = None,
        state: str = states.SUCCESS,
        *,
        traceback: str | None = None,
        expires: Expires | Default = DEFAULT,
        protect: Iterable[str] | Anything | None = None,
        **fields: Unpack[AllFields],
    ) -> bool:
        """See `coatcheck.Results.store_result`."""
        draft = self._writer.draft(
            task_id,
            result,
            state,
            traceback=traceback,
            expires=expires,
            protect=protect,
            fields=fields,
        )
        won = await self._put(draft)
        if not won and protect is None:
            self._lost_to_first(draft.meta)
        return won

    async def _put(self, draft: Draft) -> bool:
        meta, unless, seconds = draft
        try:
            return await self.backend.put(meta.task_id, meta, unless=unless, expires=seconds)
        except (EncodeError, ResultTooLargeError) as error:
            substitute, raises = self._writer.substitute(draft, error)
            won = substitute is not None and await self.backend.put(
                meta.task_id, substitute.meta, unless=unless, expires=seconds
            )
            if raises:
                raise
            return won

    async def store_many(
        self,
        values: Mapping[str, Any] | Iterable[tuple[str, Any]],
        *,
        expires: Expires | Default = DEFAULT,
    ) -> dict[str, bool]:
        """See `coatcheck.Results.store_many`."""
        pairs = values.items() if isinstance(values, Mapping) else values
        drafts = [self._writer.draft(k, v, states.SUCCESS, expires=expires) for k, v in pairs]
        stored = Stored()
        for start in range(0, len(drafts), BATCH):
            await self._put_batch(drafts[start : start + BATCH], stored)
        if stored.errors:
            raise stored.errors[0]
        return stored.won

    async def _put_batch(self, drafts: list[Draft], stored: Stored) -> None:
        _, unless, seconds = drafts[0]
        items = [(draft.meta.task_id, draft.meta) for draft in drafts]
        try:
            answers = await self.backend.put_many(items, unless=unless, expires=seconds)
        except (EncodeError, ResultTooLargeError):
            # Those that are stored already recognise themselves.
            for draft in drafts:
                try:
                    stored.took(draft, first=await self._put(draft))
                except (EncodeError, ResultTooLargeError) as error:
                    stored.errors.append(error)
            return
        for draft, first in zip(drafts, answers, strict=True):
            stored.took(draft, first=first)
            if not first:
                self._lost_to_first(draft.meta)

    async def _replace(
        self,
        task_id: str,
        observed: ResultMeta | None,
        result: Any,
        state: str,
        *,
        expires: Expires | Default,
        fields: AllFields,
        events: Sequence[bytes] = (),
    ) -> bool:
        unless = ANY if observed is None else None
        meta, protected, seconds = self._writer.draft(
            task_id, result, state, expires=expires, protect=unless, fields=fields
        )
        if events:
            number = await self.backend.append(
                task_id, meta, events, unless=protected, if_match=observed, expires=seconds
            )
            return number is not None
        return await self.backend.put(
            task_id, meta, unless=protected, if_match=observed, expires=seconds
        )

    async def forget(self, task_id: str) -> bool:
        """See `coatcheck.Results.forget`."""
        return await self.forget_many([task_id]) > 0

    async def forget_many(self, task_ids: Iterable[str]) -> int:
        """See `coatcheck.Results.forget_many`."""
        self._writer.check_writable()
        return await self.backend.delete_many([checked_id(task_id) for task_id in task_ids])

    async def purge(self) -> int:
        """See `coatcheck.Results.purge`."""
        self._writer.check_writable()
        return await self.backend.purge()
