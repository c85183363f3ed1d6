"""
Lifting of key-value backends for asyncio, as `coatcheck._backends.records`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from .._coding.codec import Codec
from .._record import groups
from .._record.groups import Tree
from .._record.meta import ResultMeta
from ..errors import BackendUnavailableError, PartlyUnavailableError
from .asyncio_backend import Backend, KeyValueBackend
from .asyncio_bells import Bell
from .backend import Unless
from .logs import Log
from .portions import Portions, Writing
from .query import Query
from .records import encoded, lifted, size_of
from .wrapper import Wrapper


class Records(Wrapper, Backend[ResultMeta], to="backend"):
    """As `coatcheck._backends.backend.Records`, with coroutines."""

    def __init__(self, backend: KeyValueBackend, codec: Codec, *, key_prefix: str) -> None:
        self.backend = backend
        self._codec = backend.codec = codec
        self._prefix = key_prefix
        self._group_prefix = groups.key_prefix_of(key_prefix)
        self._portions = Portions()

    async def put(
        self,
        key: str,
        value: ResultMeta,
        *,
        unless: Unless,
        if_match: ResultMeta | None = None,
        expires: float | None,
    ) -> bool:
        return await self.backend.put(
            self._prefix + key,
            encoded(value, self._codec, self.backend.max_value_bytes),
            unless=unless,
            if_match=None if if_match is None else if_match.version,
            expires=expires,
        )

    async def put_many(
        self, items: Sequence[tuple[str, ResultMeta]], *, unless: Unless, expires: float | None
    ) -> list[bool]:
        limit = self.backend.max_value_bytes
        pairs = ((self._prefix + id_, encoded(meta, self._codec, limit)) for id_, meta in items)
        writing = Writing(self._portions, pairs, size_of)
        won: list[bool] = []
        while portion := writing.next():
            try:
                won += await self.backend.put_many(portion, unless=unless, expires=expires)
            except BackendUnavailableError as error:
                writing.failed(error)
            else:
                writing.went()
        return won

    async def get_many(self, keys: Collection[str]) -> dict[str, ResultMeta]:
        prefix = self._prefix
        try:
            found = await self.backend.get_many([prefix + id_ for id_ in keys])
        except PartlyUnavailableError as error:
            raise lifted(error, self._metas(error.found), len(prefix)) from error.__cause__
        return self._metas(found)

    def _metas(self, found: Mapping[str, bytes]) -> dict[str, ResultMeta]:
        skip = len(self._prefix)
        decode = self._codec.decode
        return {(id_ := key[skip:]): decode(id_, data) for key, data in found.items()}

    async def delete_many(self, keys: Collection[str]) -> int:
        return await self.backend.delete_many([self._prefix + id_ for id_ in keys])

    async def append(
        self,
        key: str,
        value: ResultMeta,
        events: Sequence[bytes],
        *,
        unless: Unless,
        if_match: ResultMeta | None = None,
        expires: float | None,
    ) -> int | None:
        return await self.backend.append(
            self._prefix + key,
            encoded(value, self._codec, self.backend.max_value_bytes),
            events,
            unless=unless,
            if_match=None if if_match is None else if_match.version,
            expires=expires,
        )

    async def get_log(self, key: str, after: int = 0) -> Log:
        return await self.backend.get_log(self._prefix + key, after)

    @asynccontextmanager
    async def watch(self, keys: Collection[str] = ()) -> AsyncIterator[Bell]:
        async with self.backend.watch([self._prefix + id_ for id_ in keys]) as bell:
            yield PrefixedBell(bell, self._prefix)

    async def scan(self, prefix: str = "") -> AsyncIterator[str]:
        skip = len(self._prefix)
        async for key in self.backend.scan(self._prefix + prefix):
            yield key[skip:]

    async def find(self, query: Query) -> AsyncIterator[str]:
        skip = len(self._prefix)
        async for key in self.backend.find(query.under(self._prefix)):
            yield key[skip:]

    async def lives(
        self, keys: Collection[str], *, groups: bool = False
    ) -> dict[str, float | None]:
        prefix = self._group_prefix if groups else self._prefix
        found = await self.backend.lives([prefix + id_ for id_ in keys])
        return {key[len(prefix) :]: seconds for key, seconds in found.items()}

    async def put_group(
        self, group_id: str, task_ids: Sequence[str], *, expires: float | None
    ) -> None:
        await self.put_group_tree(group_id, groups.tree_of(group_id, task_ids), expires=expires)

    async def put_group_tree(self, group_id: str, tree: Tree, *, expires: float | None) -> None:
        data = self._codec.encode_group(group_id, tree)
        key = self._group_prefix + group_id
        await self.backend.put(key, data, unless=frozenset(), expires=expires)

    async def get_group(self, group_id: str) -> list[str] | None:
        data = await self._group(group_id)
        return None if data is None else self._codec.decode_group(group_id, data)

    async def get_group_tree(self, group_id: str) -> Tree | None:
        data = await self._group(group_id)
        return None if data is None else self._codec.decode_group_tree(group_id, data)

    async def _group(self, group_id: str) -> bytes | None:
        key = self._group_prefix + group_id
        return (await self.backend.get_many([key])).get(key)

    async def delete_group(self, group_id: str) -> bool:
        return await self.backend.delete_many([self._group_prefix + group_id]) > 0

    async def scan_groups(self) -> AsyncIterator[str]:
        skip = len(self._group_prefix)
        async for key in self.backend.scan(self._group_prefix):
            yield key[skip:]

    async def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        given = prefixes or (self._prefix, self._group_prefix)
        return await self.backend.purge_others(age, given)


class PrefixedBell(Wrapper, Bell, to="_bell"):
    """A bell over keys, seen as one over task ids."""

    def __init__(self, bell: Bell, prefix: str) -> None:
        self._bell = bell
        self._prefix = prefix

    async def add(self, keys: Collection[str]) -> None:
        await self._bell.add([self._prefix + id_ for id_ in keys])

    async def discard(self, keys: Iterable[str]) -> None:
        await self._bell.discard([self._prefix + id_ for id_ in keys])

    async def wait(self, timeout: float) -> Collection[str]:
        skip = len(self._prefix)
        return [key[skip:] for key in await self._bell.wait(timeout)]
