"""
A network between client and store that cuts, stalls, and loses replies.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import pytest

from ... import BackendError, BackendUnavailableError, WaitTimeoutError, by_url
from ..._results.results import Results
from ..history import History
from ..promises import needs, promise
from ..proof import PATIENCE
from ..proxy import Proxy
from ..threads import Started, in_threads
from .case import Case


class Chaos(Case):
    """
    Promises 1, 2, 3 and 9, where the proof has an address and a way through a port.
    """

    @pytest.fixture
    def proxy(self) -> Iterator[Proxy]:
        """
        What stands between `results` and the store.
        """
        with Proxy(*self.address()) as proxy:
            yield proxy

    @promise(1)
    @needs("address", "through")
    def test_lost_reply(self, proxy: Proxy, other: Results) -> None:
        """
        A write whose reply is lost is repeated, and recognises itself.
        """
        with by_url(self.through(proxy.port)) as results:
            results.exists("warm")
            for round_ in range(5):
                proxy.drop_replies(1)
                assert results.store_result(f"t{round_}", round_)

                assert proxy.dropped == round_ + 1
                assert round_ == other.get_result(f"t{round_}")
            proxy.drop_replies(1)
            assert {"a": True, "b": True} == results.store_many({"a": 1, "b": 2})

    @promise(1)
    @needs("address", "through")
    def test_race_over_lost_replies(self, proxy: Proxy, other: Results) -> None:
        """
        Where replies get lost all the time, what writers and readers see is still one order.
        """
        clients = [by_url(self.through(proxy.port)) for _ in range(4)]
        try:
            for round_ in range(8):
                history, id_ = History(), f"t{round_}"
                proxy.drop_replies(2)
                in_threads(partial(history.take_part, c, id_, n) for n, c in enumerate(clients))
                history.read(other, id_)

                assert [] == history.faults()
        finally:
            proxy.drop_replies(0)
            for client in clients:
                client.close()

    @promise(2)
    @needs("address", "through")
    def test_cut_during_wait(self, proxy: Proxy, other: Results) -> None:
        """
        A wait whose connections are cut, again and again, gets what is stored meanwhile.
        """
        with by_url(self.through(proxy.port)) as results:
            for round_ in range(3):
                wait = Started(results.wait_for, f"t{round_}", PATIENCE)
                time.sleep(0.1)
                proxy.cut()
                other.store_result(f"t{round_}", round_)

                assert round_ == wait.answer().result

    @promise(2, 3)
    @needs("address", "through")
    def test_stall(self, proxy: Proxy, other: Results) -> None:
        """
        While the store says nothing, operations and waits end in their time; after that all goes
        on without anything being opened by hand.
        """
        with by_url(self.through(proxy.port), operation_timeout=1.0) as results:
            results.store_result("warm", 1)
            wait = Started(results.wait_for, "t", PATIENCE)
            time.sleep(0.1)
            proxy.stall()
            start = time.monotonic()
            for timeout in (0, 0.2):
                with pytest.raises(WaitTimeoutError):
                    Started(results.wait_for, "u", timeout).answer()
            with pytest.raises(BackendUnavailableError):
                Started(results.store_result, "u", 1).answer()
            took = time.monotonic() - start
            proxy.resume()
            other.store_result("t", 2)

            assert 2 == wait.answer().result
            assert took < PATIENCE / 2
            assert 1 == results.get_result("warm")

    @promise(2, 9)
    @needs("address", "through")
    def test_refused_for_a_while(self, proxy: Proxy, other: Results) -> None:
        """
        A client that could not connect can, as soon as the store takes it.
        """
        proxy.refuse()
        with by_url(self.through(proxy.port), operation_timeout=0.5) as results:
            with pytest.raises(BackendError):
                results.exists("t")
            wait = Started(results.wait_for, "t", PATIENCE)
            time.sleep(0.2)
            proxy.accept()
            other.store_result("t", 1)

            assert 1 == wait.answer().result
            assert results.exists("t")

    @promise(3)
    @needs("address", "through")
    def test_delay(self, proxy: Proxy) -> None:
        """
        A slow way makes nothing wrong, only slow.
        """
        proxy.delay(0.05)
        with by_url(self.through(proxy.port)) as results:
            assert results.store_result("t", 1)
            assert not results.store_result("t", 2)
            assert 1 == results.wait_for("t", PATIENCE).result
            start = time.monotonic()
            with pytest.raises(WaitTimeoutError):
                results.wait_for("u", 0.3)

            assert time.monotonic() - start >= 0.3
