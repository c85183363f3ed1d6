"""
Storing and deleting records, for synchronous code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack

from .. import states
from .._backends.backend import ANY, Anything, Backend
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

    def store_result(
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
        """
        Store a record; `False` if a ready one was there already and stays.

        In FAILURE and REVOKED *result* is the exception. A value that cannot be stored becomes
        a small FAILURE record, and raises `EncodeError` or `ResultTooLargeError`; of an unready
        state nothing is stored.

        Args:
            expires: how long the record lives; every write starts anew.
            protect: the states that may not be replaced, for this call.
            fields: see `AllFields`.
        """
        draft = self._writer.draft(
            task_id,
            result,
            state,
            traceback=traceback,
            expires=expires,
            protect=protect,
            fields=fields,
        )
        won = self._put(draft)
        if not won and protect is None:
            self._lost_to_first(draft.meta)
        return won

    def _put(self, draft: Draft) -> bool:
        meta, unless, seconds = draft
        try:
            return self.backend.put(meta.task_id, meta, unless=unless, expires=seconds)
        except (EncodeError, ResultTooLargeError) as error:
            substitute, raises = self._writer.substitute(draft, error)
            won = substitute is not None and self.backend.put(
                meta.task_id, substitute.meta, unless=unless, expires=seconds
            )
            if raises:
                raise
            return won

    def store_many(
        self,
        values: Mapping[str, Any] | Iterable[tuple[str, Any]],
        *,
        expires: Expires | Default = DEFAULT,
    ) -> dict[str, bool]:
        """
        Store many values as SUCCESS, in few round trips; say of each whether it is the record.

        Where some values cannot be stored, the others are, and the first error is raised after
        all is done.
        """
        pairs = values.items() if isinstance(values, Mapping) else values
        drafts = [self._writer.draft(k, v, states.SUCCESS, expires=expires) for k, v in pairs]
        stored = Stored()
        for start in range(0, len(drafts), BATCH):
            self._put_batch(drafts[start : start + BATCH], stored)
        if stored.errors:
            raise stored.errors[0]
        return stored.won

    def _put_batch(self, drafts: list[Draft], stored: Stored) -> None:
        _, unless, seconds = drafts[0]
        items = [(draft.meta.task_id, draft.meta) for draft in drafts]
        try:
            answers = self.backend.put_many(items, unless=unless, expires=seconds)
        except (EncodeError, ResultTooLargeError):
            # Those that are stored already recognise themselves.
            for draft in drafts:
                try:
                    stored.took(draft, first=self._put(draft))
                except (EncodeError, ResultTooLargeError) as error:
                    stored.errors.append(error)
            return
        for draft, first in zip(drafts, answers, strict=True):
            stored.took(draft, first=first)
            if not first:
                self._lost_to_first(draft.meta)

    def _replace(
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
        """
        Store an unready record over exactly the one *observed*, or where there was none, over none; with it
        append *events*.
        """
        unless = ANY if observed is None else None
        meta, protected, seconds = self._writer.draft(
            task_id, result, state, expires=expires, protect=unless, fields=fields
        )
        if events:
            number = self.backend.append(
                task_id, meta, events, unless=protected, if_match=observed, expires=seconds
            )
            return number is not None
        return self.backend.put(task_id, meta, unless=protected, if_match=observed, expires=seconds)

    def forget(self, task_id: str) -> bool:
        """Delete the record; `False` if there was none. The id is new after that."""
        return self.forget_many([task_id]) > 0

    def forget_many(self, task_ids: Iterable[str]) -> int:
        """Delete many records; return how many there were."""
        self._writer.check_writable()
        return self.backend.delete_many([checked_id(task_id) for task_id in task_ids])

    def purge(self) -> int:
        """Delete expired records that the store has not removed itself; return how many."""
        self._writer.check_writable()
        return self.backend.purge()
