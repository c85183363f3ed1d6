"""
A network between client and store that cuts, stalls, and loses replies.
"""

from __future__ import annotations

import time

import pytest

from ... import BackendError, BackendUnavailableError, WaitTimeoutError
from ... import Results as SyncResults
from ..history import History
from ..promises import needs, promise
from ..proof import PATIENCE
from ..proxy import Proxy
from ..sides import patiently, pause, served, start, together
from .case import Case


class Chaos(Case):
    """Promises 1, 2, 3 and 9, if the proof has an address and a way through a port."""

    @promise(1)
    @needs("address", "through")
    async def test_lost_reply(self, proxy: Proxy, other: SyncResults) -> None:
        """A write whose reply is lost is repeated, and recognises itself."""
        async with self.results_through(proxy) as results:
            await results.exists("warm")
            for round_ in range(5):
                proxy.drop_replies(1)
                assert await patiently(results.store_result(f"t{round_}", round_))

                assert proxy.dropped == round_ + 1
                assert round_ == other.get_result(f"t{round_}")
            proxy.drop_replies(1)
            assert {"a": True, "b": True} == await results.store_many({"a": 1, "b": 2})

    @promise(1)
    @needs("address", "through")
    async def test_race_over_lost_replies(self, proxy: Proxy, other: SyncResults) -> None:
        """
        Even if replies get lost all the time, the observations fit one order, and one write wins.
        """
        clients = [self.results_through(proxy) for _ in range(4)]
        try:
            for round_ in range(12):
                history, id_ = History(), f"t{round_}"
                act = history.take_part if round_ % 3 else history.store
                proxy.drop_replies(2)
                await together(act(client, id_, n) for n, client in enumerate(clients * 2))
                async with self.new_results() as direct:
                    await history.read(direct, id_)

                assert [] == history.faults()
                if act == history.store:
                    assert history.winner == other.get_result(id_)
        finally:
            proxy.drop_replies(0)
            for client in clients:
                await client.close()

    @promise(2)
    @needs("address", "through")
    async def test_cut_during_wait(self, proxy: Proxy, other: SyncResults) -> None:
        """A wait whose connections are cut repeatedly still gets its record."""
        async with self.results_through(proxy) as results:
            for round_ in range(3):
                wait = start(results.wait_for(f"t{round_}", PATIENCE))
                await pause(0.1)
                proxy.cut()
                other.store_result(f"t{round_}", round_)

                assert round_ == (await wait).result

    @promise(2, 3)
    @needs("address", "through")
    async def test_stall(self, proxy: Proxy, other: SyncResults) -> None:
        """
        Operations and waits on a stalled store end in time, and all recovers by itself
        afterwards.
        """
        async with self.results_through(proxy, operation_timeout=1.0) as results:
            await served(lambda: results.store_result("warm", 1))
            wait = start(results.wait_for("t", PATIENCE))
            await pause(0.1)
            proxy.stall()
            began = time.monotonic()
            for timeout in (0, 0.2):
                with pytest.raises(WaitTimeoutError):
                    await patiently(results.wait_for("u", timeout))
            with pytest.raises(BackendUnavailableError):
                await patiently(results.store_result("u", 1))
            took = time.monotonic() - began
            proxy.resume()
            other.store_result("t", 2)

            assert 2 == (await wait).result
            assert took < PATIENCE / 2
            assert 1 == await served(lambda: results.get_result("warm"))

    @promise(2, 9)
    @needs("address", "through")
    async def test_refused_for_a_while(self, proxy: Proxy, other: SyncResults) -> None:
        """A client that could not connect can do so as soon as the store accepts it."""
        proxy.refuse()
        async with self.results_through(proxy, operation_timeout=0.5) as results:
            with pytest.raises(BackendError):
                await results.exists("t")
            wait = start(results.wait_for("t", PATIENCE))
            await pause(0.2)
            proxy.accept()
            other.store_result("t", 1)

            assert 1 == (await wait).result
            assert await served(lambda: results.exists("t"))

    @promise(3)
    @needs("address", "through")
    async def test_delay(self, proxy: Proxy) -> None:
        """A slow network makes nothing wrong, only slow."""
        proxy.delay(0.05)
        # The first store may create tables, by thirty statements of a tenth of a second.
        async with self.results_through(proxy, operation_timeout=PATIENCE) as results:
            assert await results.store_result("t", 1)
            assert not await results.store_result("t", 2)
            assert 1 == (await results.wait_for("t", PATIENCE)).result
            began = time.monotonic()
            with pytest.raises(WaitTimeoutError):
                await results.wait_for("u", 0.3)

            assert time.monotonic() - began >= 0.3
