"""
The Redis backend for synchronous code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from coatcheck import Bell, KeyValueBackend
from coatcheck.plugin import URL, DrivenBackend, drive

from .bell import RedisBell
from .celerysettings import celery_options
from .cluster import Cluster
from .link import Link, connection_class
from .operations import START, RedisOperations, Request
from .script import Reply
from .settings import Settings

if TYPE_CHECKING:
    from coatcheck.plugin import Checkup


class RedisBackend(RedisOperations, DrivenBackend[bytes], KeyValueBackend):
    """Shared by threads, which share its pool of connections."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        settings.check_driver(connection_class(settings))
        self._link = Cluster(settings) if settings.cluster else Link(settings)

    @classmethod
    def celery_options(cls, url: URL, settings: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        return celery_options(url, settings)

    @property
    def trouble(self) -> Exception | None:
        return self._link.repeats.trouble

    @property
    def polling(self) -> Exception | None:
        return self._link.polling

    def _ask(self, request: Request) -> list[Reply]:
        return self._link.ask(request)

    def scan(self, prefix: str = "") -> Iterator[str]:
        seen: set[bytes] = set()
        for node in self._link.nodes():
            cursor: bytes | None = START
            while cursor is not None:
                page = self._page(prefix, node, cursor, seen)
                cursor, keys = drive(page, self._ask)
                yield from keys

    def lives(self, keys: Collection[str], *, groups: bool = False) -> dict[str, float | None]:
        return drive(self._lives(keys), self._ask)

    @contextmanager
    def watch(self, keys: Collection[str] = ()) -> Iterator[Bell]:
        bell = RedisBell(self._link)
        try:
            bell.add(keys)
            yield bell
        finally:
            bell.close()

    def checkup(self) -> Checkup:
        from .checkup import RedisCheckup  # noqa: PLC0415 - only for the doctor

        return RedisCheckup(self._settings, self._link)

    def close(self) -> None:
        self._link.close()
