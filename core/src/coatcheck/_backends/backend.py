"""
What a backend is: storage primitives, and what its store is capable of.

::

    Backend                      speaks ResultMeta                 document stores, SQL
     └─ KeyValueBackend          speaks keys and bytes             key-value stores

An author of a plugin writes `put`, `get_many` and `delete_many`; all else has a sound default.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Self, TypeVar

from .._coding.codec import Codec
from .._record import groups
from .._record.groups import Tree
from .._record.meta import ResultMeta
from ..errors import (
    BackendUnavailableError,
    ConfigurationError,
    PartlyUnavailableError,
    ResultTooLargeError,
    UnsupportedError,
)
from . import portions
from .bells import Bell
from .portions import Portions, Writing
from .wrapper import Wrapper

if TYPE_CHECKING:
    from .._settings.url import URL

#: The version of this protocol; a plugin made for another one is refused.
PROTOCOL_VERSION: Final = 1

#: What keys of key-value stores start with, where nobody says otherwise.
DEFAULT_KEY_PREFIX: Final = "celery-task-meta-"

#: How many records one read or write asks for at most.
BATCH: Final = portions.BATCH

V = TypeVar("V")


class Anything(enum.Enum):
    """
    The type of `ANY`.
    """

    ANY = "ANY"


#: As `unless`: write only if nothing is there.
ANY: Final = Anything.ANY

#: The states that may not be replaced, or `ANY`.
Unless = frozenset[str] | Anything


class Capability(enum.Flag):
    """
    What a store can do beyond storing. A declared capability must work.
    """

    NONE = 0
    #: `watch` rings: a write wakes those who wait for it.
    PUSH = enum.auto()
    #: The store forgets expired records by itself.
    TTL = enum.auto()
    #: `scan` works.
    SCAN = enum.auto()
    #: Other processes see the records.
    SHARED = enum.auto()


class BaseBackend(Generic[V]):
    """
    What sync and async backends declare alike. `V` is `ResultMeta`, or bytes.
    """

    #: The version of the protocol that the class was written for. Each plugin states the number
    #: itself: inherited from the core that is installed, it would always match.
    PROTOCOL_VERSION: ClassVar[int]
    capabilities: Capability = Capability.NONE
    #: The largest encoded record the store takes, in bytes; `None`: no limit is known.
    max_value_bytes: int | None = None
    #: The unit in which the store counts a record's life, in seconds.
    expires_resolution: ClassVar[float] = 0.001
    #: Decodes records where the backend has to know their state. Set by who uses the backend.
    codec: Codec = Codec()
    #: Whether the records are on several servers, some of which may be away. Then the first read of
    #: many asks all of them at once, so that `PartlyUnavailableError` tells of all records.
    spread: bool = False

    @property
    def trouble(self) -> Exception | None:
        """
        The error for which an operation is being repeated now; `None` if there is none.
        """
        return None

    @property
    def polling(self) -> Exception | None:
        """
        The error for which waits poll although the store can wake them; `None` while it wakes them, and
        before the first wait.
        """
        return None

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        """
        Return a backend for *url*, without I/O.

        *options* are the URL's query and the keyword arguments that the core does not know;
        text, or typed where they came from Python. Raises `ConfigurationError` for one that
        does not exist.
        """
        del url, operation_timeout, options  # for those who know what to do with them
        raise UnsupportedError(f"{cls.__name__} cannot be made from a URL")

    @classmethod
    def celery_options(cls, url: URL, settings: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """
        Return the URL and the options by which to make what Celery makes of *url* and *settings*.

        The settings are all that are given, by Celery's names; those that concern every backend
        (lifetime, serializers, `global_keyprefix`) are not for this method. By default the URL is
        all there is. Raises `ConfigurationError` for a setting that means what the backend cannot
        do. Asked of the class for synchronous code, on behalf of both.
        """
        del settings  # for those who have some
        return url.raw, {}

    def _lacks_groups(self) -> UnsupportedError:
        return UnsupportedError(f"{type(self).__name__} does not keep groups")

    def _lacks(self, capability: Capability, call: str) -> UnsupportedError:
        return UnsupportedError(
            f"{type(self).__name__} does not support {call}: it lacks {capability}"
        )


class Backend(BaseBackend[V], ABC):
    """
    A store of records by task id, for synchronous code. Shared freely between threads.

    Errors of the driver become `BackendError`s. Every operation ends within the backend's
    operation timeout. An expired record is absent, to reads and to writes.
    """

    #: Whether records that other programs stored, such as Celery before a switch, stay in the store
    #: until `purge_others` deletes them: they do not say when they expire.
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
        Store *value* in one atomic step; `False` if what is there may not be replaced.

        Args:
            unless: states whose record is never replaced, or `ANY`: write only if absent. A
                record that cannot be decoded at all is replaced.
            if_match: write only over exactly this value, as `get_many` returned it.
            expires: seconds for which the record lives at least; `None` keeps it.

        A write that is repeated after a lost reply and finds itself in the store is `True`.
        """

    @abstractmethod
    def get_many(self, keys: Collection[str]) -> dict[str, V]:
        """
        Return what is stored; absent keys are left out. Never deletes.

        Where only a part of the store is away this may raise `PartlyUnavailableError`, with what
        is stored in the rest.
        """

    @abstractmethod
    def delete_many(self, keys: Collection[str]) -> int:
        """
        Delete, and return how many there were. Absent keys are no error.
        """

    def put_many(
        self, items: Sequence[tuple[str, V]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        """
        Store several values, each as by `put`; the answers in the same order.
        """
        return [self.put(key, value, unless=unless, expires=expires) for key, value in items]

    def watch(self, keys: Collection[str] = ()) -> AbstractContextManager[Bell]:
        """
        Subscribe to *keys*; the subscription is live on entry and ends on exit.

        The default bell only sleeps.
        """
        del keys  # it never rings
        return nullcontext(Bell())

    def scan(self, prefix: str = "") -> Iterator[str]:
        """
        Iterate over the keys that start with *prefix*, in no order. Needs `SCAN`.
        """
        raise self._lacks(Capability.SCAN, "scan()")

    def scan_state(self, state: str, prefix: str = "") -> Iterator[str]:
        """
        Iterate over keys that start with *prefix*, among them those of all records in *state*.
        Needs `SCAN`.

        The caller reads the records, and leaves out those in other states. By default they are all
        among them; a store that has an index by state overrides this.
        """
        del state
        return self.scan(prefix)

    def put_group(self, group_id: str, task_ids: Sequence[str], *, expires: float | None) -> None:
        """
        Keep the ids of a group's tasks. The last write wins.
        """
        raise self._lacks_groups()

    def get_group(self, group_id: str) -> list[str] | None:
        """
        Return the ids of a group's tasks; `None` for an unknown group.
        """
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
        """
        Delete a group, not its tasks; `False` if there was none.
        """
        raise self._lacks_groups()

    def purge(self) -> int:
        """
        Delete expired records, and return how many; a store with `TTL` may have none to delete.
        """
        return 0

    def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        """
        Delete the records and groups of other programs that are older than *age* seconds, and return
        how many. In a key-value store they are those whose keys start with one of *prefixes*.
        """
        return 0

    def close(self) -> None:
        """
        Give up connections; idempotent. A closed backend opens new ones when it is used again.
        """


class KeyValueBackend(Backend[bytes]):
    """
    A store that speaks keys and bytes. Where it has to know a record's state, it asks
    `self.codec.state_of`.
    """


class Records(Wrapper, Backend[ResultMeta], to="backend"):
    """
    Lifts a key-value backend to records: encodes, decodes, and makes keys of ids.
    """

    def __init__(self, backend: KeyValueBackend, codec: Codec, *, key_prefix: str) -> None:
        self.backend = backend
        self._codec = backend.codec = codec
        self._prefix = key_prefix
        self._group_prefix = groups.key_prefix_of(key_prefix)
        self._portions = Portions()

    def put(
        self,
        key: str,
        value: ResultMeta,
        *,
        unless: Unless,
        if_match: ResultMeta | None = None,
        expires: float | None,
    ) -> bool:
        return self.backend.put(
            self._prefix + key,
            encoded(value, self._codec, self.backend.max_value_bytes),
            unless=unless,
            if_match=None if if_match is None else if_match.version,
            expires=expires,
        )

    def put_many(
        self, items: Sequence[tuple[str, ResultMeta]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        limit = self.backend.max_value_bytes
        pairs = ((self._prefix + id_, encoded(meta, self._codec, limit)) for id_, meta in items)
        writing = Writing(self._portions, pairs, size_of)
        won: list[bool] = []
        while portion := writing.next():
            try:
                won += self.backend.put_many(portion, unless=unless, expires=expires)
            except BackendUnavailableError as error:
                writing.failed(error)
            else:
                writing.went()
        return won

    def get_many(self, keys: Collection[str]) -> dict[str, ResultMeta]:
        prefix = self._prefix
        try:
            found = self.backend.get_many([prefix + id_ for id_ in keys])
        except PartlyUnavailableError as error:
            raise lifted(error, self._metas(error.found), len(prefix)) from error.__cause__
        return self._metas(found)

    def _metas(self, found: Mapping[str, bytes]) -> dict[str, ResultMeta]:
        skip = len(self._prefix)
        decode = self._codec.decode
        return {(id_ := key[skip:]): decode(id_, data) for key, data in found.items()}

    def delete_many(self, keys: Collection[str]) -> int:
        return self.backend.delete_many([self._prefix + id_ for id_ in keys])

    @contextmanager
    def watch(self, keys: Collection[str] = ()) -> Iterator[Bell]:
        prefixed = [self._prefix + id_ for id_ in keys]
        with self.backend.watch(prefixed) as bell:
            yield PrefixedBell(bell, self._prefix)

    def scan(self, prefix: str = "") -> Iterator[str]:
        skip = len(self._prefix)
        return (key[skip:] for key in self.backend.scan(self._prefix + prefix))

    def scan_state(self, state: str, prefix: str = "") -> Iterator[str]:
        skip = len(self._prefix)
        return (key[skip:] for key in self.backend.scan_state(state, self._prefix + prefix))

    def put_group(self, group_id: str, task_ids: Sequence[str], *, expires: float | None) -> None:
        self.put_group_tree(group_id, groups.tree_of(group_id, task_ids), expires=expires)

    def put_group_tree(self, group_id: str, tree: Tree, *, expires: float | None) -> None:
        data = self._codec.encode_group(group_id, tree)
        key = self._group_prefix + group_id
        self.backend.put(key, data, unless=frozenset(), expires=expires)

    def get_group(self, group_id: str) -> list[str] | None:
        data = self._group(group_id)
        return None if data is None else self._codec.decode_group(group_id, data)

    def get_group_tree(self, group_id: str) -> Tree | None:
        data = self._group(group_id)
        return None if data is None else self._codec.decode_group_tree(group_id, data)

    def _group(self, group_id: str) -> bytes | None:
        key = self._group_prefix + group_id
        return self.backend.get_many([key]).get(key)

    def delete_group(self, group_id: str) -> bool:
        return self.backend.delete_many([self._group_prefix + group_id]) > 0

    def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        return self.backend.purge_others(age, prefixes or (self._prefix, self._group_prefix))


class PrefixedBell(Wrapper, Bell, to="_bell"):
    """
    A bell over keys, seen as one over task ids.
    """

    def __init__(self, bell: Bell, prefix: str) -> None:
        self._bell = bell
        self._prefix = prefix

    def add(self, keys: Collection[str]) -> None:
        self._bell.add([self._prefix + id_ for id_ in keys])

    def discard(self, keys: Iterable[str]) -> None:
        self._bell.discard([self._prefix + id_ for id_ in keys])

    def wait(self, timeout: float) -> Collection[str]:
        skip = len(self._prefix)
        return [key[skip:] for key in self._bell.wait(timeout)]


def encoded(meta: ResultMeta, codec: Codec, limit: int | None) -> bytes:
    """
    Return the bytes of *meta*. Raises `EncodeError`, or `ResultTooLargeError` over *limit*.
    """
    data = codec.encode(meta.document)
    if limit is not None and len(data) > limit:
        raise ResultTooLargeError(meta.task_id, size=len(data), limit=limit)
    return data


def size_of(pair: tuple[str, bytes]) -> int:
    """
    Return how many bytes the value of a key has.
    """
    return len(pair[1])


def lifted(
    error: PartlyUnavailableError, found: Mapping[str, ResultMeta], skip: int
) -> PartlyUnavailableError:
    """
    Return *error* as one about task ids: the keys without their first *skip* characters.
    """
    unread = [key[skip:] for key in error.unread]
    return PartlyUnavailableError(str(error), found=found, unread=unread)


def lift(backend: Backend[Any], codec: Codec, *, key_prefix: str) -> Backend[ResultMeta]:
    """
    Return *backend* as one that speaks metas.
    """
    if isinstance(backend, KeyValueBackend):
        return Records(backend, codec, key_prefix=key_prefix)
    check_no_prefix(backend, key_prefix)
    backend.codec = codec
    return backend


def check_no_prefix(backend: BaseBackend[Any], key_prefix: str) -> None:
    """
    Raise `ConfigurationError` for a prefix where *backend* has no keys that could start with it.
    """
    if key_prefix != DEFAULT_KEY_PREFIX:
        raise ConfigurationError(
            f"the option key_prefix: {type(backend).__name__} keeps records by their ids, without a "
            "prefix; give it a place of its own instead, such as another table or collection"
        )


def stated_version(cls: type) -> Any:
    """
    Return the `PROTOCOL_VERSION` that *cls* states, or a base of its own package; else `None`.

    A base of another package says for which protocol that package was written, not *cls*.
    """
    package = cls.__module__.partition(".")[0]
    own = (base for base in cls.__mro__ if base.__module__.partition(".")[0] == package)
    return next((v for base in own if (v := vars(base).get("PROTOCOL_VERSION")) is not None), None)


def batches(keys: Iterable[str]) -> Iterator[list[str]]:
    """
    Split *keys* into lists of at most `BATCH`.
    """
    keys = list(keys)
    return (keys[i : i + BATCH] for i in range(0, len(keys), BATCH))
