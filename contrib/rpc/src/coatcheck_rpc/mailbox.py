"""
The records of one queue, in the memory of the process that reads it. No I/O.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Collection, Iterator
from typing import Any, Final, Protocol

from coatcheck import ANY
from coatcheck.plugin import Codec, Tree, forks, monotonic

from .messages import Mail, hash_of
from .registry import Registry

#: Expired records are removed each time this many have arrived.
SWEEP_EVERY: Final = 1000
_INF: Final = float("inf")


class Rings(Protocol):
    """A bell that rings when a record arrives."""

    def ring(self, key: str) -> None:
        """Ring for *key*. From any thread."""


class Mailbox:
    """
    The records of one queue, judged in the order of their arrival. Shared by threads; times are monotonic. A
    forked child keeps a copy, and reads a queue of its own.
    """

    def __init__(self, name: str, *, life: float) -> None:
        self._name = name
        self._process = os.getpid()
        #: Seconds for which the queue lives without its reader, and a record that names no lifetime.
        self.life = life
        self._lock = threading.Lock()
        self._records: dict[str, tuple[bytes, float]] = {}
        self._groups: dict[str, tuple[Tree, float]] = {}
        self._bells: frozenset[Rings] = frozenset()
        #: How many messages have arrived, with and without success.
        self.arrivals = 0
        #: Whether messages to the queue arrive now.
        self.live = False
        #: Tells the states of records.
        self.codec = Codec()
        forks.register(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._bells = frozenset()
        self.live = False

    @property
    def queue(self) -> str:
        """The name of the queue; a forked child has one of its own."""
        process = os.getpid()
        return self._name if process == self._process else f"{self._name}-{process}"

    # -- writing --------------------------------------------------------------------------

    def arrive(self, mail: Mail) -> bool:
        """Store the record of a message; `False` if it may not replace the current one."""
        until = _until(mail.life)
        with self._lock:
            self.arrivals += 1
            if self.arrivals % SWEEP_EVERY == 0:
                self._remove_expired()
            current = self._living(mail.task_id)
            if not self._allows(current, mail):
                return current == mail.body  # a repeated message finds itself
            self._records[mail.task_id] = (mail.body, until)
            bells = self._bells
        for bell in bells:
            bell.ring(mail.task_id)
        return True

    def _allows(self, current: bytes | None, mail: Mail) -> bool:
        if mail.match is not None:
            return current is not None and hash_of(current) == mail.match
        if current is None or mail.unless is ANY:
            return current is None
        return self.codec.state_of(current) not in mail.unless

    def delete(self, ids: Collection[str]) -> int:
        """Delete records; return how many existed."""
        with self._lock:
            living = sum(self._living(id_) is not None for id_ in set(ids))
            for id_ in ids:
                self._records.pop(id_, None)
        return living

    def purge(self) -> int:
        """Delete expired records and groups; return how many."""
        with self._lock:
            return self._remove_expired()

    def _remove_expired(self) -> int:
        now, removed = monotonic(), 0
        for kept in (self._records, self._groups):
            every: dict[str, tuple[Any, float]] = kept
            expired = [key for key, (_, until) in every.items() if until <= now]
            for key in expired:
                del every[key]
            removed += len(expired)
        return removed

    # -- reading --------------------------------------------------------------------------

    def _living(self, task_id: str) -> bytes | None:
        body, until = self._records.get(task_id, (None, 0.0))
        return body if until > monotonic() else None

    def get(self, ids: Collection[str]) -> dict[str, bytes]:
        """Return the records that exist."""
        return {id_: body for id_ in ids if (body := self._living(id_)) is not None}

    def scan(self, prefix: str) -> Iterator[str]:
        """Iterate over the ids that start with *prefix*."""
        ids = [id_ for id_ in list(self._records) if id_.startswith(prefix)]
        return (id_ for id_ in ids if self._living(id_) is not None)

    def left(self, task_id: str) -> float | None:
        """Return the remaining life of a record in seconds; `None` if it is kept."""
        until = self._records[task_id][1]
        return None if until == _INF else until - monotonic()

    # -- bells ----------------------------------------------------------------------------

    def add_bell(self, bell: Rings) -> None:
        """Ring *bell* for each record that arrives."""
        with self._lock:
            self._bells |= {bell}

    def remove_bell(self, bell: Rings) -> None:
        """Ring *bell* no longer."""
        with self._lock:
            self._bells -= {bell}

    @property
    def bells(self) -> int:
        """The number of bells."""
        return len(self._bells)

    # -- groups, which this process keeps for itself --------------------------------------

    def put_group(self, group_id: str, tree: Tree, life: float | None) -> None:
        """Keep a group."""
        with self._lock:
            self._groups[group_id] = (tree, _until(life))

    def get_group(self, group_id: str) -> Tree | None:
        """Return a group; `None` for an unknown one."""
        tree, until = self._groups.get(group_id, (None, 0.0))
        return tree if until > monotonic() else None

    def delete_group(self, group_id: str) -> bool:
        """Delete a group; `False` if there was none."""
        with self._lock:
            found = self.get_group(group_id) is not None
            self._groups.pop(group_id, None)
        return found


def _until(life: float | None) -> float:
    return _INF if life is None else monotonic() + life


_boxes: Final[Registry[Mailbox]] = Registry()
_default: Final = str(uuid.uuid4())


def mailbox_of(address: object, name: str | None, *, life: float) -> Mailbox:
    """
    Return this process's mailbox for the queue *name* of a broker. All clients of the queue share it.
    """
    name = name or _default
    return _boxes.get((address, name), lambda: Mailbox(name, life=life))
