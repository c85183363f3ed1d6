"""
Commands to the server: one deadline for each, and repeats within it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from redis import exceptions
from redis.connection import BlockingConnectionPool

from coatcheck.pacing import jittered

from .errors import is_transient, mapped

Command = tuple[Any, ...]

_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.25


class Attempts:
    """
    How often and how soon an operation may be repeated: while half of its time is left, so that
    a last try, which may take the other half, ends in time.
    """

    def __init__(self, timeout: float) -> None:
        now = time.monotonic()
        self.deadline = now + timeout
        self._until = now + timeout / 2
        self._pause = 0.0

    @property
    def left(self) -> float:
        """
        The seconds left for a reply; never none, which would not even read what is there.
        """
        return max(self.deadline - time.monotonic(), 0.001)

    def next_pause(self) -> float | None:
        """
        Return the pause before the next try, in seconds; `None` if there is to be none.
        """
        if time.monotonic() + self._pause >= self._until:
            return None
        pause = self._pause
        # The first repeat comes at once: most often a connection was closed while it was idle.
        self._pause = min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        return jittered(pause)


def first_transient(replies: Sequence[object]) -> Exception | None:
    """
    Return the first reply that says "not now".
    """
    return next((r for r in replies if isinstance(r, Exception) and is_transient(r)), None)


class Link:
    """
    Sends commands on pooled connections. Shared by threads; redis-py's pool survives a fork.
    """

    def __init__(self, pool: BlockingConnectionPool, *, label: str, timeout: float) -> None:
        self._pool = pool
        self._label = label
        self._timeout = timeout
        #: The error for which an operation is being repeated just now.
        self.trouble: Exception | None = None

    def ask(self, commands: Sequence[Command], *, writing: bool) -> list[Any]:
        """
        Return the replies; the server's errors among them as exceptions of the driver.

        Raises a `BackendError` where no try came through.
        """
        attempts = Attempts(self._timeout)
        while True:
            try:
                replies = self._try(commands, attempts)
                error = first_transient(replies)
                if error is None:
                    self.trouble = None
                    return replies
            except (exceptions.RedisError, OSError) as raised:
                error = raised
            pause = attempts.next_pause() if is_transient(error) else None
            ours = mapped(error, self._label, writing=writing)
            if pause is None:
                raise ours from error
            self.trouble = ours
            time.sleep(pause)

    def _try(self, commands: Sequence[Command], attempts: Attempts) -> list[Any]:
        connection = self._pool.get_connection()
        try:
            packed = connection.pack_commands(commands)
            connection.send_packed_command(packed, check_health=False)
            return [self._read(connection, attempts) for _ in commands]
        except BaseException:
            # Replies that were not read would answer the next command.
            connection.disconnect()
            raise
        finally:
            self._pool.release(connection)

    def _read(self, connection: Any, attempts: Attempts) -> Any:
        try:
            return connection.read_response(timeout=attempts.left)
        except exceptions.ResponseError as error:
            return error

    def close(self) -> None:
        """
        Close all connections; the next command opens new ones.
        """
        self._pool.disconnect()
