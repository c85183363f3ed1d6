"""
One client used by many at once, and one store used by other processes.
"""

from __future__ import annotations

from contextlib import aclosing

from ... import Capability
from ...aio import Results
from ..child import children
from ..promises import promise
from ..proof import PATIENCE, has
from ..sides import start, together
from .case import Case


class Sharing(Case):
    """Promise 9."""

    @promise(9, 2)
    async def test_one_client_for_all(self, results: Results) -> None:
        """Threads or tasks share one object for all calls, and none sees another's replies."""

        async def work(number: int) -> list[object]:
            got: list[object] = []
            for round_ in range(10):
                id_ = f"t{number}-{round_}"
                async with aclosing(results.as_completed([id_], timeout=PATIENCE)) as wait:
                    await results.store_result(id_, [number, round_])
                    got.append((await anext(wait)).result)
                got.append(await results.get_result(id_))
                await results.forget(id_)
            return got

        answers = await together(map(work, range(16)))

        expected = [[[n, round_] for round_ in range(10) for _ in range(2)] for n in range(16)]
        assert expected == answers

    @promise(9, 2)
    async def test_waits_of_one_client(self, results: Results) -> None:
        """Each of many waits that began before their stores gets the value of its own id."""
        for round_ in range(5):
            ids = [f"t{round_}-{n}" for n in range(16)]
            waits = [start(results.wait_for(id_, PATIENCE)) for id_ in ids]
            await together(results.store_result(id_, id_) for id_ in ids)

            assert ids == [(await wait).result for wait in waits]

    @promise(9)
    async def test_other_processes(self, results: Results) -> None:
        """If the backend says that other processes see its records, they do, both ways."""
        if not has(results, Capability.SHARED):
            return
        await results.store_result("ours", "from here")
        jobs = [("read", (self.store_url, "ours")), ("store", (self.store_url, "theirs", 2))]
        with children(jobs) as started:
            for child in started:
                child.go()
            answers = [child.answer() for child in started]

        assert ["from here", True] == answers
        assert 2 == await results.get_result("theirs")
