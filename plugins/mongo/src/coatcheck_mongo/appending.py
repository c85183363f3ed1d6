"""
The operations on logs of tasks, once for synchronous code and for asyncio. No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from coatcheck.plugin import Log, Operation, ResultMeta, Unless

from . import answers, commands, logs, records
from .link import BaseLink
from .operations import MongoOperations
from .requests import Command, Steps, Try


class MongoLogs(MongoOperations):
    """Events in the documents of their records."""

    def _append(
        self,
        key: str,
        value: ResultMeta,
        events: Sequence[bytes],
        unless: Unless,
        if_match: ResultMeta | None,
        expires: float | None,
    ) -> Operation[Try, int | None]:
        link, name = self._link, self._settings.tasks
        link.as_new(value, expires)  # the next write of the record is an update
        record = records.encoded(value, self.codec, self.max_value_bytes)
        version = None if if_match is None else if_match.version
        request = commands.append(name, record, events, unless, version, expires)
        reply = yield Try(partial(self._send, link, name, request), writing=True)
        return logs.number_in(reply, record.write_id)

    def _send(self, link: BaseLink, name: str, request: Command) -> Steps[Any]:
        if link.may_lack_indexes(name):
            yield from self._create_indexes(link, name)
        reply = yield request
        answers.check(reply)
        return reply

    def _get_log(self, key: str, after: int) -> Operation[Try, Log]:
        request = logs.read(self._settings.tasks, key, after, commands.IS_ALIVE)
        return logs.log_in((yield Try(request, writing=False)))
