"""
What arrived: the records of one queue, in the memory of the process that reads it. No I/O.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, Protocol

from coatcheck import ANY
from coatcheck.plugin import Codec, Tree, forks, monotonic

from .messages import Mail, hash_of

#: Expired records are looked for at every so many that arrive.
SWEEP_EVERY: Final = 1000
_INF: Final = float("inf")


class Rings(Protocol):
    """
    Who wants to hear of what arrives.
    """

    def ring(self, key: str) -> None:
        """
        Take in that *key* was written. From any thread.
        """


class Mailbox:
    """
    The records of one queue, which are decided on in the order in which they arrive. Shared by
    threads; times are monotonic.

    A forked child keeps a copy, and reads a queue of its own.
    """

    def __init__(self, name: str, *, life: float) -> None:
        self._name = name
        self._process = os.getpid()
        #: For how long the queue lives without its reader, and what came without a life.
        self.life = life
        self._lock = threading.Lock()
        self._records: dict[str, tuple[bytes, float]] = {}
        self._groups: dict[str, tuple[Tree, float]] = {}
        self._bells: frozenset[Rings] = frozenset()
        #: How many messages have arrived, whatever became of them.
        self.arrivals = 0
        #: Whether what is sent to the queue arrives.
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
        """
        The name of the queue; a forked child has one of its own.
        """
        process = os.getpid()
        return self._name if process == self._process else f"{self._name}-{process}"

    # -- writing --------------------------------------------------------------------------

    def arrive(self, mail: Mail) -> bool:
        """
        Take in what arrived; `False` if it may not replace what is there.
        """
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
        """
        Delete, and return how many there were.
        """
        with self._lock:
            living = sum(self._living(id_) is not None for id_ in set(ids))
            for id_ in ids:
                self._records.pop(id_, None)
        return living

    def purge(self) -> int:
        """
        Delete what has expired, and return how much that was.
        """
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
        """
        Return what is there.
        """
        return {id_: body for id_ in ids if (body := self._living(id_)) is not None}

    def scan(self, prefix: str) -> Iterator[str]:
        """
        Iterate over the ids that start with *prefix*.
        """
        ids = [id_ for id_ in list(self._records) if id_.startswith(prefix)]
        return (id_ for id_ in ids if self._living(id_) is not None)

    def left(self, task_id: str) -> float | None:
        """
        Return how many seconds a record has to live; `None`: it is kept.
        """
        until = self._records[task_id][1]
        return None if until == _INF else until - monotonic()

    # -- bells ----------------------------------------------------------------------------

    def add_bell(self, bell: Rings) -> None:
        """
        Ring *bell* for what arrives.
        """
        with self._lock:
            self._bells |= {bell}

    def remove_bell(self, bell: Rings) -> None:
        """
        Ring it no more.
        """
        with self._lock:
            self._bells -= {bell}

    @property
    def bells(self) -> int:
        """
        How many there are.
        """
        return len(self._bells)

    # -- groups, which are this process's matter alone ------------------------------------

    def put_group(self, group_id: str, tree: Tree, life: float | None) -> None:
        """
        Keep a group.
        """
        with self._lock:
            self._groups[group_id] = (tree, _until(life))

    def get_group(self, group_id: str) -> Tree | None:
        """
        Return a group, if there is one.
        """
        tree, until = self._groups.get(group_id, (None, 0.0))
        return tree if until > monotonic() else None

    def delete_group(self, group_id: str) -> bool:
        """
        Delete a group; `False` if there was none.
        """
        with self._lock:
            found = self.get_group(group_id) is not None
            self._groups.pop(group_id, None)
        return found


def _until(life: float | None) -> float:
    return _INF if life is None else monotonic() + life


class _Registry:
    """
    The mailboxes of this process, by broker and queue, so that all its clients meet in one.
    """

    def __init__(self) -> None:
        self._boxes: dict[tuple[object, str], Mailbox] = {}
        self._default = str(uuid.uuid4())
        self.after_fork()
        forks.register(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, address: object, name: str | None, *, life: float) -> Mailbox:
        forks.check()
        key = (address, name or self._default)
        with self._lock:
            if key not in self._boxes:
                self._boxes[key] = Mailbox(key[1], life=life)
            return self._boxes[key]


mailbox_of: Final[Callable[..., Mailbox]] = _Registry()
