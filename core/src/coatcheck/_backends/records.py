"""
Lifting of key-value backends: records become keys and bytes, and back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from .._coding.codec import Codec
from .._record import groups
from .._record.groups import Tree
from .._record.meta import ResultMeta
from ..errors import (
    BackendUnavailableError,
    ConfigurationError,
    PartlyUnavailableError,
    ResultTooLargeError,
)
from .backend import DEFAULT_KEY_PREFIX, Backend, BaseBackend, KeyValueBackend, Unless
from .bells import Bell
from .logs import Log
from .portions import Portions, Writing
from .query import Query
from .wrapper import Wrapper


class Records(Wrapper, Backend[ResultMeta], to="backend"):
    """Lifts a key-value backend to records: encodes, decodes, and makes keys of ids."""

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

    def append(
        self,
        key: str,
        value: ResultMeta,
        events: Sequence[bytes],
        *,
        unless: Unless,
        if_match: ResultMeta | None = None,
        expires: float | None,
    ) -> int | None:
        return self.backend.append(
            self._prefix + key,
            encoded(value, self._codec, self.backend.max_value_bytes),
            events,
            unless=unless,
            if_match=None if if_match is None else if_match.version,
            expires=expires,
        )

    def get_log(self, key: str, after: int = 0) -> Log:
        return self.backend.get_log(self._prefix + key, after)

    @contextmanager
    def watch(self, keys: Collection[str] = ()) -> Iterator[Bell]:
        prefixed = [self._prefix + id_ for id_ in keys]
        with self.backend.watch(prefixed) as bell:
            yield PrefixedBell(bell, self._prefix)

    def scan(self, prefix: str = "") -> Iterator[str]:
        skip = len(self._prefix)
        return (key[skip:] for key in self.backend.scan(self._prefix + prefix))

    def find(self, query: Query) -> Iterator[str]:
        skip = len(self._prefix)
        return (key[skip:] for key in self.backend.find(query.under(self._prefix)))

    def lives(self, keys: Collection[str], *, groups: bool = False) -> dict[str, float | None]:
        prefix = self._group_prefix if groups else self._prefix
        found = self.backend.lives([prefix + id_ for id_ in keys])
        return {key[len(prefix) :]: seconds for key, seconds in found.items()}

    def put_group(self, group_id: str, task_ids: Sequence[str], *, expires: float | None) -> None:
        self.put_group_tree(group_id, groups.tree_of(group_id, task_ids), expires=expires)

    def put_group_tree(self, group_id: str, tree: Tree, *, expires: float | None) -> None:
        data = self._codec.encode_group(group_id, tree)
        self.put_group_data(group_id, data, unless=frozenset(), expires=expires)

    def put_group_data(
        self, group_id: str, data: bytes, *, unless: Unless, expires: float | None
    ) -> bool:
        """Keep the bytes of a group, which `group_data` returned."""
        key = self._group_prefix + group_id
        return self.backend.put(key, data, unless=unless, expires=expires)

    def get_group(self, group_id: str) -> list[str] | None:
        data = self.group_data(group_id)
        return None if data is None else self._codec.decode_group(group_id, data)

    def get_group_tree(self, group_id: str) -> Tree | None:
        data = self.group_data(group_id)
        return None if data is None else self._codec.decode_group_tree(group_id, data)

    def group_data(self, group_id: str) -> bytes | None:
        """Return the bytes of a group; `None` for an unknown one."""
        key = self._group_prefix + group_id
        return self.backend.get_many([key]).get(key)

    def delete_group(self, group_id: str) -> bool:
        return self.backend.delete_many([self._group_prefix + group_id]) > 0

    def scan_groups(self) -> Iterator[str]:
        skip = len(self._group_prefix)
        return (key[skip:] for key in self.backend.scan(self._group_prefix))

    def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        return self.backend.purge_others(age, prefixes or (self._prefix, self._group_prefix))


class PrefixedBell(Wrapper, Bell, to="_bell"):
    """A bell over keys, seen as one over task ids."""

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
    """Return the bytes of *meta*. Raises `EncodeError`, or `ResultTooLargeError` over *limit*."""
    data = codec.encode(meta.document)
    if limit is not None and len(data) > limit:
        raise ResultTooLargeError(meta.task_id, size=len(data), limit=limit)
    return data


def size_of(pair: tuple[str, bytes]) -> int:
    """Return how many bytes the value of a key has."""
    return len(pair[1])


def lifted(
    error: PartlyUnavailableError, found: Mapping[str, ResultMeta], skip: int
) -> PartlyUnavailableError:
    """Return *error* as one about task ids: the keys without their first *skip* characters."""
    unread = [key[skip:] for key in error.unread]
    return PartlyUnavailableError(str(error), found=found, unread=unread)


def lift(backend: Backend[Any], codec: Codec, *, key_prefix: str) -> Backend[ResultMeta]:
    """Return *backend* as one that speaks metas."""
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
