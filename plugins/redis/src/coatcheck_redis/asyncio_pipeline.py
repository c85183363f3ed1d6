"""
Auto-pipelining: commands that many tasks send at the same time share one exchange.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from coatcheck import BackendError
from coatcheck.aio.plugin import tasks
from coatcheck.plugin import monotonic

from .script import Command, Reply

#: The exchanges that may be under way before commands gather. More than one, so that nothing waits for
#: a single slow reply.
_APART: Final = 3
#: The most commands in one exchange, and the largest value in bytes. More would hold up the others.
_MOST: Final = 500
_LARGE: Final = 16_384


class Asked(NamedTuple):
    """Commands of one caller that wait to be sent."""

    commands: Sequence[Command]
    start: float
    replies: asyncio.Future[list[Reply]]


class AutoPipeline:
    """
    Sends at once while little is under way. Otherwise commands gather until an exchange ends. So a single
    task never waits, and a thousand share a few connections.

    Args:
        send: called with commands, and with the time of the first call of `ask` for them. Returns the
            replies, or raises a `BackendError`. It may send the commands again.
        renew: makes an error like one that *send* raised, for each caller.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Command], float], Awaitable[list[Reply]]],
        renew: Callable[[BackendError], BackendError],
    ) -> None:
        self._send = send
        self._renew = renew
        self._under_way = 0
        self._gathered: list[Asked] = []
        # The loop holds its tasks weakly.
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, commands: Sequence[Command]) -> list[Reply]:
        """Return the replies to *commands*, in order."""
        now = monotonic()
        if self._under_way >= _APART and not _is_large(commands):
            asked = Asked(commands, now, asyncio.get_running_loop().create_future())
            self._gathered.append(asked)
            return await asked.replies
        self._under_way += 1
        try:
            return await self._send(commands, now)
        finally:
            self._ended()

    def _ended(self) -> None:
        """Send the gathered commands in place of an exchange that ended."""
        self._under_way -= 1
        if self._gathered and self._under_way < _APART:
            together, self._gathered = self._gathered[:_MOST], self._gathered[_MOST:]
            self._under_way += 1
            task = tasks.start(self._send_together(together))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send_together(self, together: list[Asked]) -> None:
        try:
            # A caller that was cancelled needs no reply.
            together = [asked for asked in together if not asked.replies.done()]
            if together:
                commands = [command for asked in together for command in asked.commands]
                _hand_out(together, await self._send(commands, together[0].start))
        except BackendError as error:
            for asked in together:
                if not asked.replies.done():
                    asked.replies.set_exception(self._renew(error))
                    asked.replies.exception()  # asyncio warns of errors that nobody sees
        finally:
            for asked in together:
                asked.replies.cancel()  # if the loop ends; replies that are set stay
            self._ended()


def _is_large(commands: Sequence[Command]) -> bool:
    if len(commands) > _MOST // 4:
        return True
    sizes = (len(part) for command in commands for part in command if isinstance(part, bytes))
    return max(sizes, default=0) > _LARGE


def _hand_out(together: Sequence[Asked], replies: list[Reply]) -> None:
    at = 0
    for asked in together:
        end = at + len(asked.commands)
        if not asked.replies.done():
            asked.replies.set_result(replies[at:end])
        at = end
