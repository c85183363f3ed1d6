"""
A process that cannot start threads for a while.
"""

from __future__ import annotations

import threading

import pytest

from ..._results.results import Results
from ...errors import BackendError, WaitTimeoutError
from ..promises import promise
from ..proof import PATIENCE
from ..starved import without_threads
from .case import SyncCase


class Threads(SyncCase):
    """Promise 9."""

    @promise(9, 2)
    def test_no_thread_for_a_while(self, sync: Results) -> None:
        """Without new threads, waits and heartbeats say so or work; afterwards all works again."""
        sync.store_result("a", 1)
        for _ in range(2):
            with without_threads():
                with pytest.raises((BackendError, WaitTimeoutError)):
                    sync.wait_for("never", 0.2)
                with pytest.raises(BackendError, match="thread"), sync.running("r", heartbeat=9):
                    pass
            assert sync.wait_for("a", PATIENCE).result == 1
            sync.close()

    @promise(9)
    def test_no_thread_for_the_first_operation(self, sync: Results) -> None:
        """The next operation starts the threads that the first one could not."""
        with without_threads():
            try:
                sync.store_result("a", 1)
            except BackendError as error:
                assert "thread" in str(error)  # noqa: PT017 - not every store needs one
        sync.store_result("a", 1)

        assert sync.get_result("a") == 1
        assert sync.wait_for("a", PATIENCE).result == 1

    @promise(9, 2)
    def test_no_thread_and_close(self, sync: Results) -> None:
        """Results that could start no thread can be closed."""
        before = set(threading.enumerate())
        with without_threads():
            with pytest.raises((BackendError, WaitTimeoutError)):
                sync.wait_for("never", 0.1)
            sync.close()

        assert not [t for t in set(threading.enumerate()) - before if t.name == "coatcheck-hub"]
