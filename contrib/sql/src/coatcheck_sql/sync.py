"""
The SQL backend for synchronous code.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Self

from coatcheck import Bell, Capability
from coatcheck.errors import BackendError, BackendUnavailableError
from coatcheck.plugin import (
    BATCH,
    URL,
    Backend,
    Portions,
    ResultMeta,
    Tree,
    Unless,
    Writing,
    batches,
    monotonic,
    tree_of,
)

from . import celerysettings, records, work
from .link import Link
from .operations import Operation
from .settings import Settings

CAPABILITIES: Final = Capability.TTL | Capability.SCAN | Capability.SHARED

_logger = logging.getLogger("coatcheck")


class SQLBackend(Backend[ResultMeta]):
    """
    Records as rows, written by one statement that elects the first ready one.
    """

    PROTOCOL_VERSION = 1
    keeps_others = True
    capabilities = CAPABILITIES

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._portions = Portions()
        self._link = Link(settings)
        self.max_value_bytes = settings.dialect.largest
        if settings.listen is not None:
            self.capabilities = CAPABILITIES | Capability.PUSH

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        return cls(Settings(url, options or {}, operation_timeout=operation_timeout))

    @classmethod
    def celery_options(cls, url: URL, settings: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        return celerysettings.celery_options(url, settings)

    @property
    def trouble(self) -> Exception | None:
        """
        The error for which an operation is being repeated just now.
        """
        return self._link.trouble

    @property
    def polling(self) -> Exception | None:
        """
        Why waits look by themselves; `None` while they are woken, and where they never are.
        """
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
        encode = work.Encoder(self.codec, self.max_value_bytes, [value])
        if if_match is None:
            make = partial(work.store, encode=encode, unless=unless, expires=expires)
            won = self._link.run(make, writing=True)
        else:
            version = if_match.version
            make = partial(work.store_over, encode=encode, version=version, expires=expires)
            won = self._link.run(make, writing=True)
        self._sweep(began)
        return won

    def put_many(
        self, items: Sequence[tuple[str, ResultMeta]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        # All are encoded before any is sent.
        encode = work.Encoder(self.codec, self.max_value_bytes, [meta for _, meta in items])
        all_ = self._link.run(partial(work.encode, encode=encode), writing=True)
        first, later = records.first_and_later(all_)
        won: set[str | None] = set()
        most = self._settings.dialect.portion
        writing = Writing(self._portions, first, records.size_of, most=most)
        while portion := writing.next():
            make = partial(work.store_many, records=portion, unless=unless, expires=expires)
            try:
                stored = self._link.run(make, writing=True)
            except BackendUnavailableError as error:
                writing.failed(error)
            else:
                writing.went()
                won |= stored
        for record in later:
            again = partial(work.store_record, record=record, unless=unless, expires=expires)
            if self._link.run(again, writing=True):
                won.add(record.write_id)
        self._sweep(monotonic())
        return [record.write_id in won for record in all_]

    def delete_many(self, keys: Collection[str]) -> int:
        return sum(
            self._link.run(partial(work.delete, ids=batch), writing=True)
            for batch in batches(dict.fromkeys(keys))
        )

    def purge(self) -> int:
        return self._purge(work.purge)

    def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        return self._purge(partial(work.purge_others, age=age))

    def _purge(self, portion: Callable[..., Operation[int]]) -> int:
        purged = 0
        for grouped in (False, True):
            make = partial(portion, grouped=grouped)
            while removed := self._link.run(make, writing=True):
                purged += removed
        return purged

    def _sweep(self, began: float) -> None:
        """
        Remove expired records now and then, if the write that *began* then has left time for it.
        """
        part = self._link.part_to_sweep(began)
        if part is None:
            return
        try:
            for grouped in (False, True):
                make = partial(work.purge, grouped=grouped)
                self._link.run(make, writing=True, part=part)
        except BackendError as error:  # what was stored is stored; a later write sweeps
            _logger.info("expired records were not removed: %s", error)

    # -- reading --------------------------------------------------------------------------

    def get_many(self, keys: Collection[str]) -> dict[str, ResultMeta]:
        found: dict[str, ResultMeta] = {}
        for batch in batches(dict.fromkeys(keys)):
            make = partial(work.read, ids=batch)
            rows = self._link.run(make, writing=False)
            found.update(work.metas(rows, self.codec, self._settings))
        return found

    def scan(self, prefix: str = "") -> Iterator[str]:
        return self._scan(prefix, None)

    def scan_state(self, state: str, prefix: str = "") -> Iterator[str]:
        return self._scan(prefix, state)

    def _scan(self, prefix: str, state: str | None) -> Iterator[str]:
        last = -(2**63)
        while True:
            make = partial(work.page, last=last, size=BATCH, state=state)
            found, last, more = self._link.run(make, writing=False)
            yield from (id_ for id_ in found if id_.startswith(prefix))
            if not more:
                return

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
        make = partial(
            work.store_group, group_id=group_id, tree=tree, codec=self.codec,
            limit=self.max_value_bytes, expires=expires,
        )  # fmt: skip
        self._link.run(make, writing=True)

    def get_group(self, group_id: str) -> list[str] | None:
        row = self._group(group_id)
        return None if row is None else records.decoded_group(group_id, row, self.codec)

    def get_group_tree(self, group_id: str) -> Tree | None:
        row = self._group(group_id)
        return None if row is None else records.decoded_tree(group_id, row, self.codec)

    def _group(self, group_id: str) -> Mapping[str, Any] | None:
        make = partial(work.read, ids=[group_id], grouped=True)
        rows = self._link.run(make, writing=False)
        return rows[0] if rows else None

    def delete_group(self, group_id: str) -> bool:
        make = partial(work.delete, ids=[group_id], grouped=True)
        return self._link.run(make, writing=True) > 0

    def close(self) -> None:
        self._link.close()
