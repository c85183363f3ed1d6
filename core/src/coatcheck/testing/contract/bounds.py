"""
More at once than arrives in an operation's time, and connections that somebody on the way forgot.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import pytest

from ... import BackendUnavailableError, WaitTimeoutError, by_url
from ..._record.meta import ResultMeta
from ..._results.results import Results
from ..promises import needs, promise
from ..proof import PATIENCE
from ..proxy import Proxy
from ..threads import in_threads
from .case import Case

#: Twenty-four records of 125 kB over a line that takes twice an operation's time for all of them.
LARGE: Final = {f"large-{number}": f"{number:02}" * 62_500 for number in range(24)}
OPERATION: Final = 0.4
RATE: Final = sum(map(len, LARGE.values())) / OPERATION / 2


class Bounds(Case):
    """
    Promises 2, 3 and 4, where there is much at once or the network is poor.
    """

    @pytest.fixture
    def proxy(self) -> Iterator[Proxy]:
        """
        What stands between `results` and the store.
        """
        with Proxy(*self.address()) as proxy:
            yield proxy

    @promise(2)
    def test_one_look_at_many_ready_records(self, results: Results) -> None:
        """
        A wait that looks once gets everything that is ready, and the timeout names the rest.
        """
        ids = [f"t{number}" for number in range(1500)]
        results.store_many(dict.fromkeys(ids, 1))
        found: list[ResultMeta] = []
        with pytest.raises(WaitTimeoutError) as info:
            found.extend(results.as_completed([*ids, "never"], timeout=0))

        assert sorted(ids) == sorted(meta.task_id for meta in found)
        assert ("never",) == tuple(info.value.task_ids)

    @promise(2, 3)
    @needs("address", "through")
    def test_one_look_at_a_silent_store(self, proxy: Proxy) -> None:
        """
        A wait that looks once at a store that says nothing ends like an operation, and says why.
        """
        proxy.stall()
        with by_url(self.through(proxy.port), operation_timeout=OPERATION) as results:
            for ids in (["t"], ["u", "v"]):
                with pytest.raises(WaitTimeoutError) as info:
                    next(results.as_completed(ids, timeout=0))
                assert isinstance(info.value.last_error, BackendUnavailableError)

    @promise(2, 3)
    @needs("address", "through")
    def test_large_records_over_a_slow_line(self, proxy: Proxy, other: Results) -> None:
        """
        Records that do not arrive together within an operation's time are stored and read in parts.
        """
        proxy.slow_down(RATE)
        with by_url(self.through(proxy.port), operation_timeout=OPERATION) as results:
            results.exists("warm")
            other.store_many(LARGE)
            found = results.as_completed(LARGE, timeout=PATIENCE)
            assert LARGE == {meta.task_id: meta.result for meta in found}

            metas = results.get_many(LARGE)
            assert LARGE == {id_: meta.result for id_, meta in metas.items()}

    @promise(3)
    @needs("address", "through")
    def test_forgotten_connections(self, proxy: Proxy, other: Results) -> None:
        """
        An operation whose connection leads nowhere takes a new one, whatever else the pool holds.
        """
        other.store_result("ready", 1)
        with by_url(self.through(proxy.port), operation_timeout=2.0) as results:
            proxy.delay(0.02)
            in_threads(partial(results.get_result, "ready") for _ in range(8))
            proxy.delay(0.0)
            proxy.forget()

            assert results.store_result("t", 1)
            assert results.store_result("u", 2)
            assert 1 == results.wait_for("ready", 2.0).result
