"""
The ids that are waited for, and those that rang. No I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from coatcheck.plugin import Backoff

from .letters import EXACT, Letters, key_of
from .wire import Statement

#: A connection that was silent for this time, in seconds, is asked for a sign of life.
PING_AFTER: Final = 10.0
PING: Final = Statement("SELECT 1")


class Listener:
    """The ids that are waited for, by the payloads of notifications."""

    def __init__(self) -> None:
        self._letters = EXACT
        self._ids: dict[str, str] = {}
        self._rang: set[str] = set()
        self.backoff = Backoff()

    def add(self, ids: Collection[str]) -> None:
        """Wait for *ids*."""
        self._ids.update((key_of(id_, self._letters), id_) for id_ in ids)

    def discard(self, ids: Iterable[str]) -> None:
        """No longer wait for *ids*."""
        for id_ in ids:
            self._ids.pop(key_of(id_, self._letters), None)

    def heard(self, payload: str) -> bool:
        """Note a notification. Return whether anybody waits for its id."""
        id_ = self._ids.get(payload)
        if id_ is None:
            return False
        self._rang.add(id_)
        return True

    def ring_all(self) -> None:
        """Have all ids ring, because notifications may have been missed."""
        self._rang.update(self._ids.values())

    @property
    def rings(self) -> bool:
        return bool(self._rang)

    def take(self) -> set[str]:
        """Return the ids that rang since the last call."""
        rang, self._rang = self._rang, set()
        return rang

    def opened(self, letters: Letters) -> None:
        """Note that the connection is live, and which *letters* the database has."""
        self.backoff.worked()
        if letters != self._letters:
            self._letters = letters
            self._ids = {key_of(id_, letters): id_ for id_ in self._ids.values()}


def connect_arguments(url: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return psycopg's arguments for SQLAlchemy's *url*."""
    dialect = url.set(drivername="postgresql+psycopg").get_dialect()()
    positional, named = dialect.create_connect_args(url)
    named.pop("context", None)
    return positional, named
