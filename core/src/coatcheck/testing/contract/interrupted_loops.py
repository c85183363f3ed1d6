"""
Event loops that a signal handler ends, at any place.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from itertools import count

from ...aio import Results
from ..interrupts import interrupt, places, roots_of
from ..losses import lossy
from ..promises import promise
from ..proof import PATIENCE, at_length, innermost
from .case import AioCase

#: At how many places a loop is interrupted, where not at all of them.
SOME = 6


class Runs:
    """A client in one `asyncio.run` after the other; some of them are interrupted."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._numbers = count()
        self._roots = roots_of(sys.modules[type(innermost(results.backend)).__module__])

    def run(self) -> None:
        """Run a loop, and check the answer of every operation."""
        asyncio.run(asyncio.wait_for(self._use(), PATIENCE))

    async def _use(self) -> None:
        task_id = f"fresh-{next(self._numbers)}"
        assert await self._results.store_result(task_id, task_id) is True
        found = await self._results.get_many([task_id, "none"])
        assert [task_id] == [meta.result for meta in found.values() if meta.known]
        assert (await self._results.wait_for(task_id, PATIENCE)).result == task_id

    def interrupted(self, number: int | None) -> Iterator[str]:
        """Interrupt a loop at *number* places, or at each, as Ctrl-C does; yield the places."""
        step = 1 if number is None else max(places(self.run, roots=self._roots) // number, 1)
        for at in count(0, step):
            # asyncio lets no other exception out of callbacks. The error of `asyncio.run` may come from
            # closing things, so it is ignored.
            struck = interrupt(self.run, at, KeyboardInterrupt(), roots=self._roots)
            if struck.place is None:
                return
            yield struck.place


class InterruptedLoops(AioCase):
    """Promise 9: a signal handler that ends a loop harms no other."""

    @promise(9)
    @lossy
    def test_interrupted_loops(self) -> None:
        """After Ctrl-C ended `asyncio.run` at any place, the same client works in the next one."""
        self._interrupt(SOME)

    @promise(9)
    @lossy
    @at_length
    def test_interrupted_everywhere(self) -> None:
        """The same holds at every place where a signal handler can run."""
        self._interrupt(None)

    def _interrupt(self, number: int | None) -> None:
        results = self.aio_results()
        runs = Runs(results)
        runs.run()
        for place in runs.interrupted(number):
            try:
                runs.run()
            except Exception as error:
                raise AssertionError(f"broken after an interruption at {place}") from error
        asyncio.run(results.close())
