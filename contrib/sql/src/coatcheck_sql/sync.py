"""
The SQL backend for synchronous code.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from coatcheck import Bell
from coatcheck.errors import BackendError
from coatcheck.plugin import (
    URL,
    Backend,
    Query,
    ResultMeta,
    Tally,
    Tree,
    Unless,
    batches,
    monotonic,
    tree_of,
)

from . import records, work
from .link import Link
from .operations import Row
from .pages import Pages
from .settings import Settings

if TYPE_CHECKING:
    from coatcheck.plugin import Checkup

_logger = logging.getLogger("coatcheck")


class SQLBackend(work.Work, Backend[ResultMeta]):
    """Records as rows. The statement that writes a record elects the first ready one."""

    PROTOCOL_VERSION = 1

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._link = Link(settings)

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        return cls(Settings(url, options or {}, operation_timeout=operation_timeout))

    @property
    def trouble(self) -> Exception | None:
        return self._link.repeats.trouble

    @property
    def polling(self) -> Exception | None:
        return self._link.polling

    # -- writing --------------------------------------------------------------------------

    def put(
        self,
        key: str,
        value: ResultMeta,
        *,
        unless: Unless,
        if_match: ResultMeta | None = None,
        expires: float | None,
    ) -> bool:
        began = monotonic()
        make = self._storing(value, unless, if_match, expires)
        won = self._link.run(make, writing=True)
        self._sweep(began)
        return won

    def put_many(
        self, items: Sequence[tuple[str, ResultMeta]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        won = self._link.follow(self._storing_many(items, unless, expires))
        self._sweep(monotonic())
        return won

    def delete_many(self, keys: Collection[str]) -> int:
        return self._link.follow(work.deleting(keys))

    def purge(self) -> int:
        return self._link.follow(work.purging())

    def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        return self._link.follow(work.purging(age))

    def _sweep(self, began: float) -> None:
        """
        Remove expired records now and then, if the write that *began* then has left time for it.
        """
        link = self._link
        part = link.part_to_sweep(began)
        if part is None:
            return
        try:
            link.follow(work.sweeping(part))
        except BackendError as error:  # the record is stored; a later write sweeps
            _logger.info("expired records were not removed: %s", error)

    # -- reading --------------------------------------------------------------------------

    def get_many(self, keys: Collection[str]) -> dict[str, ResultMeta]:
        found: dict[str, ResultMeta] = {}
        for batch in batches(dict.fromkeys(keys)):
            rows = self._link.run(work.reading(batch), writing=False)
            found |= self._decoded(rows)
        return found

    def scan(self, prefix: str = "") -> Iterator[str]:
        return self.find(Query(prefix))

    def find(self, query: Query) -> Iterator[str]:
        return self._each(Pages(query))

    def scan_groups(self) -> Iterator[str]:
        return self._each(Pages(Query(), grouped=True))

    def _each(self, pages: Pages) -> Iterator[str]:
        while (make := pages.next()) is not None:
            yield from pages.came(self._link.run(make, writing=False))

    def lives(self, keys: Collection[str], *, groups: bool = False) -> dict[str, float | None]:
        return self._link.follow(work.lives(keys, grouped=groups))

    def tally(self, moments: Sequence[datetime]) -> Tally:
        return self._link.run(work.tallying(moments), writing=False)

    @contextmanager
    def watch(self, keys: Collection[str] = ()) -> Iterator[Bell]:
        if self._settings.listen is None:
            yield Bell()
            return
        from .bell import PostgreSQLBell  # noqa: PLC0415 - not everybody has psycopg

        bell = PostgreSQLBell(self._link)
        try:
            bell.add(keys)
            yield bell
        finally:
            bell.close()

    # -- groups ---------------------------------------------------------------------------

    def put_group(self, group_id: str, task_ids: Sequence[str], *, expires: float | None) -> None:
        self.put_group_tree(group_id, tree_of(group_id, task_ids), expires=expires)

    def put_group_tree(self, group_id: str, tree: Tree, *, expires: float | None) -> None:
        self._link.run(self._storing_group(group_id, tree, expires), writing=True)

    def get_group(self, group_id: str) -> list[str] | None:
        row = self._group(group_id)
        return None if row is None else records.decoded_group(group_id, row, self.codec)

    def get_group_tree(self, group_id: str) -> Tree | None:
        row = self._group(group_id)
        return None if row is None else records.decoded_tree(group_id, row, self.codec)

    def _group(self, group_id: str) -> Row | None:
        rows = self._link.run(work.reading([group_id], grouped=True), writing=False)
        return rows[0] if rows else None

    def delete_group(self, group_id: str) -> bool:
        return self._link.follow(work.deleting([group_id], grouped=True)) > 0

    def checkup(self) -> Checkup:
        from .checkup import SQLCheckup  # noqa: PLC0415 - only for the doctor

        return SQLCheckup(self._settings, self._link)

    def close(self) -> None:
        self._link.close()
