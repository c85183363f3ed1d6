"""
The MongoDB backend for synchronous code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from coatcheck import Bell
from coatcheck.plugin import URL, DrivenBackend, Query, ResultMeta, Tally

from . import commands, scans
from .appending import MongoLogs
from .bell import MongoBell
from .celerysettings import celery_options
from .link import Link
from .requests import Try
from .settings import Settings

if TYPE_CHECKING:
    from coatcheck.plugin import Checkup


class MongoBackend(MongoLogs, DrivenBackend[ResultMeta]):
    """The operations, by a client that threads share."""

    PROTOCOL_VERSION = 1

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._own_link = Link(settings)

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        return cls(Settings(url, options or {}, operation_timeout=operation_timeout))

    @classmethod
    def celery_options(cls, url: URL, settings: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        return celery_options(url, settings)

    @property
    def _link(self) -> Link:
        return self._own_link

    def _ask(self, request: Try) -> Any:
        return self._own_link.ask(request)

    def purge(self) -> int:
        return self._link.run(self._purge(commands.IS_EXPIRED))

    def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        return self._link.run(self._purge(commands.is_older(age)))

    def scan(self, prefix: str = "") -> Iterator[str]:
        return self.find(Query(prefix))

    def find(self, query: Query) -> Iterator[str]:
        return self._each(query, groups=False)

    def scan_groups(self) -> Iterator[str]:
        return self._each(Query(), groups=True)

    def _each(self, query: Query, *, groups: bool) -> Iterator[str]:
        page, last = self._link.run(self._page(query, query.after, groups=groups))
        yield from page
        while last is not None:
            page, last = self._link.run(self._page(query, last, groups=groups))
            yield from page

    def lives(self, keys: Collection[str], *, groups: bool = False) -> dict[str, float | None]:
        return self._link.run(self._lives(keys, groups=groups))

    def tally(self, moments: Sequence[datetime]) -> Tally:
        command = scans.tally(self._settings.tasks, moments)
        return scans.counted(self._ask(Try(command, writing=False)))

    @contextmanager
    def watch(self, keys: Collection[str] = ()) -> Iterator[Bell]:
        bell = MongoBell(self._link)
        try:
            bell.open()
            bell.add(keys)
            yield bell
        finally:
            bell.close()

    def put_group(self, group_id: str, task_ids: Sequence[str], *, expires: float | None) -> None:
        self._link.run(self._put_group(group_id, task_ids, expires))

    def get_group(self, group_id: str) -> list[str] | None:
        return self._link.run(self._get_group(group_id))

    def delete_group(self, group_id: str) -> bool:
        return self._link.run(self._delete_group(group_id))

    def checkup(self) -> Checkup:
        from .checkup import MongoCheckup  # noqa: PLC0415 - only for the doctor

        return MongoCheckup(self._settings, self._own_link)

    def close(self) -> None:
        self._link.close()
