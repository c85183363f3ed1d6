"""
Copying the records and groups of one store to another.

A copy that was interrupted is begun again: records that are in the target are not written a second time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, Unpack

from .. import states
from .._backends.backend import ANY, Unless
from .._backends.portions import MOST, weight
from .._backends.query import Filters
from .._record.meta import ResultMeta
from .._results.results import Results
from .._runtime.clocks import wall
from ..errors import (
    ArgumentError,
    BackendStoreError,
    ResultTooLargeError,
    SerializationError,
    UnsupportedError,
)
from .copies import Copies
from .outcome import Migrated

#: How many records are held at a time.
_CHUNK: Final = 500
#: Longer lives are rounded up to whole seconds, so that many records can be written at once.
_LONG: Final = 60.0
#: The errors of one record.
_OWN_ERRORS: Final = (SerializationError, ResultTooLargeError, BackendStoreError)

#: The records that a write may not replace, and the life of its record.
Way = tuple[Unless, float | None]


def _nothing(*_: object) -> None:
    pass


def migrate(
    source: Results,
    target: Results,
    *,
    dry_run: bool = False,
    verify: bool = True,
    on_progress: Callable[[Migrated], object] = _nothing,
    on_failure: Callable[[str, Exception], object] = _nothing,
    **filters: Unpack[Filters],
) -> Migrated:
    """
    Copy the records of *source*, with their remaining lives, and its groups to *target*.

    A ready record in *target* is never replaced, and an unready one only by a ready one. Records are copied
    byte by byte between stores of the same kind. Call it again after an interruption: it goes on. Needs the
    capability SCAN of *source*.

    Args:
        dry_run: write nothing, and count what would be copied.
        verify: look for all records in *target* at the end.
        on_progress: called with the counts again and again.
        on_failure: called with the id of each record or group that cannot be copied, and the reason.
        filters: see `coatcheck.Filters`. With any of them, groups are not copied.
    """
    run = _Migration(source, target, dry_run=dry_run, on_failure=on_failure)
    for metas in run.chunks(filters):
        run.copy(metas)
        on_progress(run.counts)
    if not any(filters.values()):
        run.copy_groups()
    if verify and not dry_run:
        for metas in run.chunks(filters):
            run.verify(metas)
            on_progress(run.counts)
    return run.counts


class _Migration:
    def __init__(
        self,
        source: Results,
        target: Results,
        *,
        dry_run: bool,
        on_failure: Callable[[str, Exception], object],
    ) -> None:
        if source is target:
            raise ArgumentError("the target of a migration", target, "use another store")
        self.counts = Migrated()
        self._source, self._target = source, target
        self._from, self._to = source.backend, target.backend
        self._copies = Copies(self._from, self._to)
        self._dry_run = dry_run
        self._on_failure = on_failure
        self._protect = target.protect | states.READY_STATES

    def chunks(self, filters: Filters) -> Iterator[list[ResultMeta]]:
        """Iterate over the records to copy, a bounded number of bytes at a time."""
        chunk: list[ResultMeta] = []
        size = 0
        for meta in self._source.scan(**filters):
            chunk.append(meta)
            size += weight([meta])
            if len(chunk) == _CHUNK or size > MOST:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    def copy(self, metas: list[ResultMeta]) -> None:
        """Copy those of *metas* that the target lacks."""
        wanted = list(self._lacking(metas))
        lives = self._from.lives([meta.task_id for meta in wanted])
        ways: dict[Way, list[ResultMeta]] = {}
        for meta in wanted:
            told = lives.get(meta.task_id)
            known = _life(meta) if told is None else told
            seconds = self._target.expires if known is None else _rounded(known)
            if seconds is not None and seconds <= 0:
                self.counts.gone += 1
                continue
            try:
                copy = self._copies.of(meta, seconds)
            except SerializationError as error:
                self._fail(meta.task_id, error)
                continue
            self.counts.default_life += known is None
            unless: Unless = self._protect if meta.ready else ANY
            ways.setdefault((unless, seconds), []).append(copy)
        for way, copies in ways.items():
            self._write(way, copies)

    def _lacking(self, metas: Iterable[ResultMeta]) -> Iterator[ResultMeta]:
        found = self._target.get_many([meta.task_id for meta in metas])
        for meta in metas:
            there = found[meta.task_id]
            if there.known and (there.ready or not meta.ready):
                self.counts.there += 1
            else:
                yield meta

    def _write(self, way: Way, copies: list[ResultMeta]) -> None:
        if self._dry_run:
            self.counts.copied += len(copies)
            return
        unless, seconds = way
        items = [(copy.task_id, copy) for copy in copies]
        try:
            answers = self._to.put_many(items, unless=unless, expires=seconds)
        except _OWN_ERRORS as error:
            if len(copies) == 1:
                self._fail(copies[0].task_id, error)
                return
            for copy in copies:
                self._write(way, [copy])
            return
        self.counts.copied += sum(answers)
        self.counts.there += len(answers) - sum(answers)

    def _fail(self, id_: str, error: Exception) -> None:
        self.counts.failed += 1
        self._on_failure(id_, error)

    # -- groups ---------------------------------------------------------------------------

    def copy_groups(self) -> None:
        """Copy the groups that the target lacks, if the source can list its groups."""
        try:
            for group_id in self._from.scan_groups():
                self._try_group(group_id)
        except UnsupportedError:
            self.counts.groups_listed = False

    def _try_group(self, group_id: str) -> None:
        try:
            self._copy_group(group_id)
        except (*_OWN_ERRORS, UnsupportedError) as error:
            self._fail(group_id, error)

    def _copy_group(self, group_id: str) -> None:
        if self._has_group(group_id):
            self.counts.groups_there += 1
            return
        told = self._from.lives([group_id], groups=True).get(group_id)
        seconds = self._target.expires if told is None else _rounded(told)
        if seconds is not None and seconds <= 0:
            return
        if not self._dry_run and not self._copies.copy_group(group_id, seconds):
            tree = self._from.get_group_tree(group_id)
            if tree is None:  # it has gone
                return
            self._to.put_group_tree(group_id, tree, expires=seconds)
        self.counts.groups += 1
        self.counts.default_life += told is None

    def _has_group(self, group_id: str) -> bool:
        try:
            return self._to.get_group_tree(group_id) is not None
        except SerializationError:  # there is one, which cannot be read
            return True

    # -- the end --------------------------------------------------------------------------

    def verify(self, metas: list[ResultMeta]) -> None:
        """Look for *metas* in the target."""
        found = self._target.get_many([meta.task_id for meta in metas])
        absent = [meta for meta in metas if not _is_done(meta, found)]
        # Some may have gone from the source meanwhile.
        still = self._source.get_many([meta.task_id for meta in absent])
        missing = sum(meta.known for meta in still.values())
        self.counts.missing += missing
        self.counts.verified += len(metas) - len(absent)


def _is_done(meta: ResultMeta, found: Mapping[str, ResultMeta]) -> bool:
    there = found[meta.task_id]
    return there.known and (there.ready or not meta.ready)


def _life(meta: ResultMeta) -> float | None:
    """Return how many more seconds *meta* lives, by its writer's clock; `None` if nobody wrote that."""
    if meta.expires_at is not None:
        return (meta.expires_at - datetime.fromtimestamp(wall(), UTC)).total_seconds()
    return None if meta.write_id is None else math.inf


def _rounded(seconds: float) -> float | None:
    if math.isinf(seconds):
        return None
    return float(math.ceil(seconds)) if seconds > _LONG else seconds
