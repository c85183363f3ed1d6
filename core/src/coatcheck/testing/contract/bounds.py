"""
Large batches over slow lines, and connections that the network forgot.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Final

import pytest

from ... import BackendUnavailableError, WaitTimeoutError
from ... import Results as SyncResults
from ...aio import Results
from ..promises import needs, promise
from ..proof import PATIENCE
from ..proxy import Proxy
from ..sides import answered, patiently, together
from .case import Case

#: Twenty-four records of 125 kB over a line that takes twice an operation's time for all of them.
LARGE: Final = {f"large-{number}": f"{number:02}" * 62_500 for number in range(24)}
SIZE: Final = sum(map(len, LARGE.values()))
OPERATION: Final = 0.4


async def with_enough_time(act: Callable[[float], Awaitable[None]], *seconds: float) -> None:
    """
    Give *act* the shortest of *seconds*, and more if that was too little: the machine may be
    busy.
    """
    for short in seconds[:-1]:
        with suppress(BackendUnavailableError, WaitTimeoutError):
            return await act(short)
    return await act(seconds[-1])


class Bounds(Case):
    """Promises 2, 3 and 4, for large batches and poor networks."""

    @promise(2)
    async def test_one_look_at_many_ready_records(self, results: Results) -> None:
        """A wait that looks once returns every ready record; its timeout error names the rest."""
        ids = [f"t{number}" for number in range(1500)]
        await results.store_many(dict.fromkeys(ids, 1))
        found: list[str] = []

        async def look() -> Collection[str]:
            found.clear()
            with pytest.raises(WaitTimeoutError) as caught:
                async for meta in results.as_completed([*ids, "never"], timeout=0):
                    found.append(meta.task_id)  # noqa: PERF401 - it raises in the end
            if caught.value.last_error is not None:
                raise caught.value
            return caught.value.task_ids

        assert {"never"} == set(await answered(look))
        assert sorted(ids) == sorted(found)

    @promise(2, 3)
    @needs("address", "through")
    async def test_one_look_at_a_silent_store(self, proxy: Proxy) -> None:
        """A wait that looks once at a silent store ends like an operation, and gives the reason."""
        proxy.stall()
        async with self.results_through(proxy, operation_timeout=OPERATION) as results:
            for ids in (["t"], ["u", "v"]):
                with pytest.raises(WaitTimeoutError) as info:
                    await patiently(anext(results.as_completed(ids, timeout=0)))
                assert isinstance(info.value.last_error, BackendUnavailableError)

    @promise(2, 3)
    @needs("address", "through")
    async def test_large_records_over_a_slow_line(self, proxy: Proxy, other: SyncResults) -> None:
        """Records that would exceed an operation's time together are read in parts."""
        other.store_many(LARGE)

        async def read(operation: float) -> None:
            proxy.slow_down(SIZE / operation / 2)
            async with self.results_through(proxy, operation_timeout=operation) as results:
                await results.exists("warm")
                found = results.as_completed(LARGE, timeout=PATIENCE)
                assert LARGE == {meta.task_id: meta.result async for meta in found}

                metas = await results.get_many(LARGE)
                assert LARGE == {id_: meta.result for id_, meta in metas.items()}

        await with_enough_time(read, OPERATION, 4 * OPERATION)

    @promise(3)
    @needs("address", "through")
    async def test_forgotten_connections(self, proxy: Proxy, other: SyncResults) -> None:
        """
        An operation on a dead connection takes a new one, even if the pool holds other dead ones.
        """
        other.store_result("ready", 1)

        async def use(operation: float) -> None:
            async with self.results_through(proxy, operation_timeout=operation) as results:
                proxy.delay(0.02)
                await together(results.get_result("ready") for _ in range(8))
                proxy.delay(0.0)
                proxy.forget()

                assert await results.store_result(f"t{operation}", 1)
                assert await results.store_result(f"u{operation}", 2)
                assert 1 == (await results.wait_for("ready", operation)).result

        await with_enough_time(use, 2.0, 8.0)
