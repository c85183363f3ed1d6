"""
The protocol of backends: storage primitives, and the capabilities of the store.

::

    Backend                      speaks ResultMeta                 document stores, SQL
     └─ KeyValueBackend          speaks keys and bytes             key-value stores

The author of a plugin writes `put`, `get_many` and `delete_many`. All other methods have sound defaults.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Self, TypeVar

from .._coding.codec import Codec
from .._record import groups
from .._record.groups import Tree
from .._settings.options import OPTIONS
from ..errors import UnsupportedError
from .bells import Bell
from .logs import Log
from .query import Query

if TYPE_CHECKING:
    from .._settings.url import URL
    from .checkup import Checkup

#: The version of this protocol; a plugin made for another one is refused.
PROTOCOL_VERSION: Final = 1

#: The prefix of keys in key-value stores, by default.
DEFAULT_KEY_PREFIX: Final[str] = OPTIONS["key_prefix"].default

V = TypeVar("V")


class Anything(enum.Enum):
    """The type of `ANY`."""

    ANY = "ANY"


#: As `unless`: write only if nothing is there.
ANY: Final = Anything.ANY

#: The numbers of records in a state and of an age.
Tally = Mapping[tuple[str, int | None], int]

#: The states that may not be replaced, or `ANY`.
Unless = frozenset[str] | Anything


class Capability(enum.Flag):
    """An ability beyond storing. A declared capability must work."""

    NONE = 0
    #: `watch` rings: a write wakes its waiters.
    PUSH = enum.auto()
    #: The store forgets expired records by itself.
    TTL = enum.auto()
    #: `scan` works.
    SCAN = enum.auto()
    #: Other processes see the records.
    SHARED = enum.auto()
    #: `append` and `get_log` keep the events of tasks.
    EVENTS = enum.auto()


class BaseBackend(Generic[V]):
    """The declarations that both sides share. `V` is `ResultMeta`, or bytes."""

    #: The version of the protocol that the class was written for. Each plugin states the number
    #: itself: a number inherited from the installed core would always match.
    PROTOCOL_VERSION: ClassVar[int]
    capabilities: Capability = Capability.NONE
    #: The largest encoded record the store takes, in bytes; `None`: no limit is known.
    max_value_bytes: int | None = None
    #: The store's unit of a record's life, in seconds.
    expires_resolution: ClassVar[float] = 0.001
    #: Decodes records for backends that must know their state. `Results` sets it.
    codec: Codec = Codec()
    #: Whether the records are on several servers that may fail separately. Then the first read of
    #: many asks all servers at once, so that `PartlyUnavailableError` covers all records.
    spread: bool = False
    #: Whether `find` returns the keys in an order of theirs, and goes on after `Query.after`.
    ordered: bool = False

    @property
    def trouble(self) -> Exception | None:
        """The error that makes an operation repeat now; `None` if no operation repeats."""
        return None

    @property
    def polling(self) -> Exception | None:
        """
        The error that makes waits poll although the store could wake them; `None` while it wakes them,
        and before the first wait.
        """
        return None

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        """
        Return a backend for *url*, without I/O.

        *options* are the URL's query, as text, and the keyword arguments that core does not know.
        Raises `ConfigurationError` for an unknown option.
        """
        del url, operation_timeout, options  # for subclasses
        raise UnsupportedError(f"{cls.__name__} cannot be made from a URL")

    @classmethod
    def celery_options(cls, url: URL, settings: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """
        Return the URL and the options of a backend that does the same as Celery's with *url* and *settings*.

        *settings* are all of Celery's settings. Those for every backend (lifetime, serializers,
        `global_keyprefix`) are read elsewhere. By default only the URL counts. Raises
        `ConfigurationError` for a setting that the backend cannot follow. Only the synchronous class
        is asked, for both sides.
        """
        del settings  # for subclasses
        return url.raw, {}

    def checkup(self) -> Checkup:
        """
        Return the checks of this store, for `coatcheck doctor`; by default none.

        The checks are for synchronous code, on both sides. They belong in a module that only this method
        imports.
        """
        from .checkup import Checkup  # noqa: PLC0415 - only for the doctor

        return Checkup()

    def _lacks_events(self) -> UnsupportedError:
        """Return the error of a store without logs of tasks."""
        return self._lacks(Capability.EVENTS, "events")

    def _lacks_groups(self) -> UnsupportedError:
        return UnsupportedError(f"{type(self).__name__} does not keep groups")

    def _lists_no_groups(self) -> UnsupportedError:
        return UnsupportedError(f"{type(self).__name__} does not list its groups")

    def _lacks(self, capability: Capability, call: str) -> UnsupportedError:
        return UnsupportedError(
            f"{type(self).__name__} does not support {call}: it lacks {capability}"
        )


class Backend(BaseBackend[V], ABC):
    """
    A store of records by task id, for synchronous code. Threads share it freely.

    Errors of the driver become `BackendError`s. Every operation ends within the backend's
    operation timeout. An expired record is absent, to reads and to writes.
    """

    #: Whether records of other programs, such as Celery before a switch, stay in the store until
    #: `purge_others` deletes them, because they have no expiry.
    keeps_others: bool = False

    @abstractmethod
    def put(
        self,
        key: str,
        value: V,
        *,
        unless: Unless,
        if_match: V | None = None,
        expires: float | None,
    ) -> bool:
        """
        Store *value* in one atomic step; `False` if a protected record is there.

        Args:
            unless: states whose record is never replaced, or `ANY`: write only if absent. A
                record that cannot be decoded at all is replaced.
            if_match: write only over exactly this value, as `get_many` returned it.
            expires: the least number of seconds that the record lives; `None` keeps it.

        After a lost reply the repeated write may find its own record: that is `True`.
        """

    @abstractmethod
    def get_many(self, keys: Collection[str]) -> dict[str, V]:
        """
        Return the stored values; absent keys are left out. Never deletes.

        If only a part of the store is away this may raise `PartlyUnavailableError` with the values
        from the rest.
        """

    @abstractmethod
    def delete_many(self, keys: Collection[str]) -> int:
        """Delete, and return how many keys existed. Absent keys are no error."""

    def put_many(
        self, items: Sequence[tuple[str, V]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        """Store several values, each as by `put`; the answers in the same order."""
        return [self.put(key, value, unless=unless, expires=expires) for key, value in items]

    def watch(self, keys: Collection[str] = ()) -> AbstractContextManager[Bell]:
        """
        Subscribe to *keys*; the subscription is live on entry and ends on exit.

        The default bell only sleeps.
        """
        del keys  # it never rings
        return nullcontext(Bell())

    def scan(self, prefix: str = "") -> Iterator[str]:
        """Iterate over the keys that start with *prefix*, in no order. Needs `SCAN`."""
        raise self._lacks(Capability.SCAN, "scan()")

    def find(self, query: Query) -> Iterator[str]:
        """
        Iterate over keys that start with `query.prefix`, among them those of all records that match
        *query*. Needs `SCAN`.

        The caller reads the records and leaves out those that do not match. By default this iterates
        over all keys with the prefix; a store that can compare states, names or dates by itself
        overrides it, and returns fewer.
        """
        return self.scan(query.prefix)

    def append(
        self,
        key: str,
        value: V,
        events: Sequence[bytes],
        *,
        unless: Unless,
        if_match: V | None = None,
        expires: float | None,
    ) -> int | None:
        """
        Store *value* as by `put` and append *events* to the key's log, in one atomic step. Needs `EVENTS`.

        The log begins with the first call. Later calls of `put` keep it and give it their `expires`. It
        ends with the record: a record that is stored where none was has no log. It is bounded by
        `LOG_EVENTS` and `LOG_BYTES`; the newest event always stays.

        Returns:
            The number of the last event, which the store counts from 1; `None` if *value* was not
            stored. A repeated call that finds its own *value* appends nothing.
        """
        raise self._lacks_events()

    def get_log(self, key: str, after: int = 0) -> Log:
        """Return the events after the number *after* that are kept. Needs `EVENTS`."""
        raise self._lacks_events()

    def lives(self, keys: Collection[str], *, groups: bool = False) -> dict[str, float | None]:
        """
        Return how many more seconds the records of *keys* live, or the *groups* of these ids: `inf`
        for one that is kept, `None` if the store cannot tell. Absent keys may be left out.

        By default no store can tell. Copies of records ask.
        """
        del groups
        return dict.fromkeys(keys)

    def tally(self, moments: Sequence[datetime]) -> Tally | None:
        """
        Count the records by state and age; `None` if the store cannot, as by default.

        *moments* divide the ages, the latest first. The age of a record is the number of those at or
        after the end of its task, or else the start; without a date it is `None`.
        """
        return None

    def put_group(self, group_id: str, task_ids: Sequence[str], *, expires: float | None) -> None:
        """Keep the ids of a group's tasks. The last write wins."""
        raise self._lacks_groups()

    def get_group(self, group_id: str) -> list[str] | None:
        """Return the ids of a group's tasks; `None` for an unknown group."""
        raise self._lacks_groups()

    def put_group_tree(self, group_id: str, tree: Tree, *, expires: float | None) -> None:
        """
        Keep a group that may hold groups, as Celery's nested pairs. The last write wins.

        A store that cannot keep the nesting keeps the ids of the tasks, as by default.
        """
        self.put_group(group_id, groups.members_of(tree), expires=expires)

    def get_group_tree(self, group_id: str) -> Tree | None:
        """
        Return a group as nested pairs, `[[id, parent], members]`; `None` for an unknown group.
        """
        task_ids = self.get_group(group_id)
        return None if task_ids is None else groups.tree_of(group_id, task_ids)

    def delete_group(self, group_id: str) -> bool:
        """Delete a group, not its tasks; `False` if there was none."""
        raise self._lacks_groups()

    def scan_groups(self) -> Iterator[str]:
        """Iterate over the ids of all groups, in no order; `UnsupportedError` if the store cannot."""
        raise self._lists_no_groups()

    def purge(self) -> int:
        """Delete expired records, and return how many; a store with `TTL` may always return 0."""
        return 0

    def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        """
        Delete the records and groups of other programs that are older than *age* seconds, and return
        how many. In a key-value store their keys start with one of *prefixes*.
        """
        return 0

    def close(self) -> None:
        """Close the connections; idempotent. The next use opens new ones."""


class KeyValueBackend(Backend[bytes]):
    """A store of bytes by key. If it must know a record's state, it calls `self.codec.state_of`."""


def stated_version(cls: type) -> Any:
    """
    Return the `PROTOCOL_VERSION` that *cls* states, or a base of its own package; else `None`.

    The version of another package's base class says nothing about *cls*.
    """
    package = cls.__module__.partition(".")[0]
    own = (base for base in cls.__mro__ if base.__module__.partition(".")[0] == package)
    return next((v for base in own if (v := vars(base).get("PROTOCOL_VERSION")) is not None), None)
