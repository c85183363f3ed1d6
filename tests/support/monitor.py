"""
The requests to a Redis server while a block runs.
"""

from __future__ import annotations

import threading
import uuid
from typing import Self

import redis

#: Commands that read a record.
READS = ("GET", "MGET")


class Monitor:
    """
    Listens to all commands; `reads` says, after the block, which of them read a key.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._end = uuid.uuid4().hex
        self._commands: list[tuple[str, ...]] = []
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def _listen(self) -> None:
        with self._client.monitor() as monitor:
            self._listening.set()
            while True:
                told = monitor.next_command()
                words = tuple(told["command"].split())
                if self._end in words:
                    return
                # The commands of a script are parts of a write.
                if told["client_type"] != "lua":
                    self._commands.append(words)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._client.echo(self._end)
        self._thread.join(10)

    def reads(self, key: str) -> int:
        """
        Return how many commands read *key*.
        """
        return sum(words[0].upper() in READS and key in words for words in self._commands)
