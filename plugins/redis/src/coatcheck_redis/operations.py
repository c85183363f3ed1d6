"""
The operations of both sides: elections, batches, and values that are too large. No I/O.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from coatcheck import BackendError, Capability, ResultTooLargeError
from coatcheck.plugin import BATCH, URL, Log, Operation, Operations, Unless, batches

from . import script
from .errors import is_noscript, is_size_refused, is_size_suspect, is_wrong_type, mapped
from .logs import log_in, log_of, log_reads
from .script import Command, Reply, Script
from .settings import Node, Settings

#: The server's default `proto-max-bulk-len`.
_MAX_VALUE_BYTES: Final = 512 * 1024 * 1024
#: The first cursor of SCAN, which SCAN also returns at the end.
START: Final = b"0"


class Request(NamedTuple):
    """
    Commands for the server, or on a cluster for *node*; without one, each goes to the node of its key.
    """

    commands: Sequence[Command]
    writing: bool
    node: Node | None = None


class RedisOperations(Operations[bytes]):
    """Records as strings, written by a script that elects the first ready one and publishes it."""

    PROTOCOL_VERSION = 1
    capabilities = (
        Capability.PUSH | Capability.TTL | Capability.SCAN | Capability.SHARED | Capability.EVENTS
    )
    max_value_bytes = _MAX_VALUE_BYTES

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sharded = settings.cluster
        self._scripts = script.SHARDED if settings.cluster else script.SCRIPTS

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        return cls(Settings(url, options or {}, operation_timeout=operation_timeout))

    # -- writing --------------------------------------------------------------------------

    def _put(
        self, key: str, value: bytes, unless: Unless, if_match: bytes | None, expires: float | None
    ) -> Operation[Request, bool]:
        observed: bytes | None = None
        while True:
            match = if_match if observed is None else observed
            stores = [script.arguments(key, value, unless, match, expires)]
            (answer,) = yield from self._store(stores)
            if isinstance(answer, bytes):
                if not script.may_replace(answer, unless, self.codec):
                    return answer == value
                observed = answer
            elif answer or observed is None:
                return answer
            else:
                observed = None  # another write came in between: ask again

    def _put_many(
        self, items: Sequence[tuple[str, bytes]], unless: Unless, expires: float | None
    ) -> Operation[Request, list[bool]]:
        stores = [script.arguments(key, value, unless, None, expires) for key, value in items]
        answers = yield from self._store(stores)
        won = []
        for answer, (key, value) in zip(answers, items, strict=True):
            if isinstance(answer, bytes):
                answer = yield from self._put(key, value, unless, None, expires)  # noqa: PLW2901
            won.append(answer)
        return won

    def _append(
        self,
        key: str,
        value: bytes,
        events: Sequence[bytes],
        unless: Unless,
        if_match: bytes | None,
        expires: float | None,
    ) -> Operation[Request, int | None]:
        observed: bytes | None = None
        while True:
            match = if_match if observed is None else observed
            store = script.arguments(key, value, unless, match, expires)
            stores = [script.appending(store, events)]
            (reply,) = yield from self._run(self._scripts.append, stores)
            number = script.appended(reply, key)
            if isinstance(number, bytes):
                if not script.may_replace(number, unless, self.codec):
                    return None
                observed = number
            elif number is not None or observed is None:
                return number
            else:
                observed = None  # another write came in between: ask again

    def _store(self, stores: Sequence[Command]) -> Operation[Request, list[bool | bytes]]:
        """Return the answers of the script, see `script.answer`."""
        replies = yield from self._run(self._scripts.put, stores)
        return [
            script.answer(reply, store[1]) for reply, store in zip(replies, stores, strict=True)
        ]

    def _run(self, scripted: Script, stores: Sequence[Command]) -> Operation[Request, list[Reply]]:
        """Return the replies of a script. Raises the errors in them."""
        replies: list[Reply] = [None] * len(stores)
        left = list(range(len(stores)))
        try:
            for bring in script.BRINGING:
                commands = scripted.commands([stores[i] for i in left], bring=bring)
                for i, reply in zip(left, (yield Request(commands, writing=True)), strict=True):
                    replies[i] = reply
                left = [i for i in left if is_noscript(replies[i])]
                if not left:
                    break
            return [self._checked(reply, writing=True) for reply in replies]
        except BackendError as error:
            value = max((script.value_of(store) for store in stores), key=len)
            if is_size_suspect(error, len(value)):
                yield from self._check_size(value, error)
            raise

    def _check_size(self, value: bytes, error: BackendError) -> Operation[Request, None]:
        """
        Raise `ResultTooLargeError`, and remember the limit, if the server does not take *value*.

        A server that refuses a size closes the connection, often before its answer can be read.
        """
        (reply,) = yield Request([script.LIMIT], writing=False)
        limit = script.limit_in(reply)
        if limit is None and is_size_refused(error):
            limit = len(value) - 1  # this much is known without the permission to ask
        if limit is not None and len(value) > limit:
            self.max_value_bytes = min(limit, self.max_value_bytes)
            task_id = str(self.codec.id_of(value))
            raise ResultTooLargeError(task_id, size=len(value), limit=limit) from error

    def _delete_many(self, keys: Collection[str]) -> Operation[Request, int]:
        deleted = 0
        for batch in batches(keys):
            commands = script.deletions(batch, sharded=self._sharded)
            logs = script.deletions([log_of(key) for key in batch], sharded=self._sharded)
            replies = yield Request([*logs, *commands], writing=True)
            # A user who may not delete logs could not write any.
            replies = replies[len(logs) :]
            deleted += sum(self._checked(reply, writing=True) for reply in replies)
        return deleted

    # -- reading --------------------------------------------------------------------------

    def _get_many(self, keys: Collection[str]) -> Operation[Request, dict[str, bytes]]:
        found: dict[str, bytes] = {}
        for batch in batches(keys):
            replies = yield Request(script.reads(batch, sharded=self._sharded), writing=False)
            checked = [self._checked(reply, writing=False) for reply in replies]
            found.update(script.values(batch, checked, sharded=self._sharded))
        return found

    def _get_log(self, key: str, after: int) -> Operation[Request, Log]:
        replies = yield Request(log_reads(key, after), writing=False)
        return log_in([self._checked(reply, writing=False) for reply in replies])

    def _lives(self, keys: Collection[str]) -> Operation[Request, dict[str, float | None]]:
        found: dict[str, float | None] = {}
        for batch in batches(keys):
            replies = yield Request([("PTTL", key) for key in batch], writing=False)
            found.update(zip(batch, (self._life(reply) for reply in replies), strict=True))
        return found

    def _life(self, reply: Reply) -> float:
        """Return the seconds in a reply to PTTL, which is -1 for a key without an end, and -2 for none."""
        milliseconds = self._checked(reply, writing=False)
        return math.inf if milliseconds == -1 else max(milliseconds, 0) / 1000

    def _page(
        self, prefix: str, node: Node | None, cursor: bytes, seen: set[bytes]
    ) -> Operation[Request, tuple[bytes | None, list[str]]]:
        """Return the next cursor, `None` at the end, and the keys that are not in *seen* yet."""
        command = ("SCAN", cursor, "MATCH", script.glob(prefix), "COUNT", str(BATCH))
        (reply,) = yield Request([command], writing=False, node=node)
        after, keys = self._checked(reply, writing=False)
        fresh = [key for key in keys if key not in seen]  # SCAN may return a key twice
        seen.update(fresh)
        return None if after == START else after, list(script.texts(fresh))

    def _checked(self, reply: Reply, *, writing: bool) -> Any:
        if isinstance(reply, Exception) and (writing or not is_wrong_type(reply)):
            raise mapped(reply, self._settings.label, writing=writing) from reply
        return reply
