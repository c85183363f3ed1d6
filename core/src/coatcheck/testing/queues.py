"""
The contract that every adapter of a queue keeps, with the queue's own worker process.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from .. import by_url, states
from .._results.results import Results
from ..errors import TaskError, TaskRevokedError, UnknownTaskError, WorkerLostError
from .jobs import EXPIRES, VALUES, Recorder
from .patience import PATIENCE
from .proxy import Proxy
from .threads import until


class Queue(ABC):
    """
    A queue under test, with a worker that stores by an adapter.

    The worker's `Results` has the plugin `recorder`, reaches the store through `proxy`, and keeps records for
    `jobs.EXPIRES` seconds; its heartbeat is `jobs.HEARTBEAT`. Its one task calls `jobs.work`.
    """

    #: The URL of the store, not by way of the proxy.
    url: str
    proxy: Proxy
    recorder: Recorder

    @abstractmethod
    def send(self, job: str, *arguments: str, again: bool = False) -> str:
        """Send a job and return the id of its task. With *again* it is tried twice, else once."""

    @abstractmethod
    def kill(self) -> None:
        """Kill the worker's processes by SIGKILL, and start another worker."""

    def revoke(self, gate: str) -> str:
        """Send a job, such as `hold` with *gate*, revoke or abort it, and return its id."""
        raise NotImplementedError

    def unsettled(self) -> int:
        """Return the number of jobs that a worker took and did not yet acknowledge."""
        raise NotImplementedError


class QueueContract:
    """
    The tests that an adapter passes. A proof is a subclass, beside a fixture `queue` of the scope `module`.

    `CANNOT` names the tests that the queue cannot pass, each with the reason.
    """

    CANNOT: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in cls.CANNOT:
            if not callable(getattr(QueueContract, name, None)):
                raise TypeError(f"{cls.__qualname__}.CANNOT names no test: {name}")
            setattr(cls, name, None)

    @pytest.fixture
    def results(self, queue: Queue) -> Iterator[Results]:
        """A reader. Its waits end by push only: a look would come too late."""
        with by_url(queue.url, safety_look=10 * PATIENCE) as results:
            yield results

    def test_values(self, queue: Queue, results: Results) -> None:
        """Every kind of value arrives as it was returned, with the name of its task and its times."""
        sent = {queue.send("value", name): name for name in VALUES}
        for meta in results.as_completed(sent, timeout=PATIENCE):
            wanted = VALUES[sent.pop(meta.task_id)]
            assert (type(wanted), wanted) == (type(meta.get()), meta.get())
            assert meta.name
            assert meta.worker
            assert meta.date_started <= meta.date_done  # type: ignore[operator]
        assert {} == sent

    def test_none(self, queue: Queue, results: Results) -> None:
        """`None` is a value."""
        handle = results.AsyncResult(queue.send("nothing"))

        assert handle.get(timeout=PATIENCE) is None
        assert handle.successful()

    def test_failure(self, queue: Queue, results: Results) -> None:
        """A failure arrives with its type, its arguments and its traceback."""
        handle = results.AsyncResult(queue.send("fail", "builtin"))
        with pytest.raises(ValueError, match="no paper") as caught:
            handle.get(timeout=PATIENCE)
        assert ("no paper", 7) == caught.value.args
        assert "in fail" in str(handle.traceback)

        with pytest.raises(TaskError) as raised:
            results.AsyncResult(queue.send("fail", "own")).get(timeout=PATIENCE)
        assert ("PrinterError", ("no paper", 7)) == (
            type(raised.value).__name__, raised.value.failure.args,
        )  # fmt: skip

    def test_retry(self, queue: Queue, results: Results, tmp_path: Path) -> None:
        """A failed attempt that another one follows is RETRY, and then comes the outcome."""
        task_id = queue.send("flaky", str(tmp_path / "mark"), again=True)

        assert "second" == results.AsyncResult(task_id).get(timeout=PATIENCE)
        seen = [s for s in queue.recorder.states(task_id) if s != states.PENDING]
        assert [states.STARTED, states.RETRY, states.STARTED] == seen[:3]

    def test_last_retry(self, queue: Queue, results: Results) -> None:
        """If the last attempt fails, too, its failure is the outcome."""
        task_id = queue.send("fail", "builtin", again=True)
        with pytest.raises(ValueError, match="no paper"):
            results.AsyncResult(task_id).get(timeout=PATIENCE)

        assert 1 == queue.recorder.states(task_id).count(states.RETRY)

    def test_revoked(self, queue: Queue, results: Results, tmp_path: Path) -> None:
        """A task that the queue revokes or aborts is REVOKED."""
        task_id = queue.revoke(str(tmp_path / "gate"))
        with pytest.raises(TaskRevokedError):
            results.AsyncResult(task_id).get(timeout=PATIENCE)

    def test_worker_killed(self, queue: Queue, results: Results, tmp_path: Path) -> None:
        """Waiters hear that the worker's process was killed, and the next one works."""
        task_id = queue.send("hold", str(tmp_path / "gate"))
        until(lambda: results.get_state(task_id) == states.STARTED)
        queue.kill()
        with pytest.raises(WorkerLostError):
            results.AsyncResult(task_id).get(timeout=PATIENCE)
        (tmp_path / "gate").touch()

        assert results.AsyncResult(queue.send("nothing")).get(timeout=PATIENCE) is None

    def test_unknown(self, queue: Queue, results: Results) -> None:
        """An id that the queue has never given is unknown, not pending."""
        with pytest.raises(UnknownTaskError):
            results.AsyncResult("no-such-task").get(timeout=PATIENCE, missing="raise")

    def test_expiry(self, queue: Queue, results: Results) -> None:
        """Records live as long as the adapter was told."""
        meta = results.wait_for(queue.send("value", "number"), timeout=PATIENCE)
        assert meta.expires_at is not None
        assert meta.date_done is not None

        assert EXPIRES == pytest.approx((meta.expires_at - meta.date_done).total_seconds(), abs=1)

    def test_value_that_cannot_be_stored(self, queue: Queue, results: Results) -> None:
        """It is a failure that says so, and the worker goes on."""
        meta = results.wait_for(queue.send("opaque"), timeout=PATIENCE)
        assert states.FAILURE == meta.status
        assert "object" in str(meta.result)

        assert results.AsyncResult(queue.send("nothing")).get(timeout=PATIENCE) is None

    def test_store_is_away(self, queue: Queue, results: Results, tmp_path: Path) -> None:
        """An outcome is stored as soon as the store is back, and the worker goes on."""
        gate = tmp_path / "gate"
        task_id = queue.send("hold", str(gate))
        until(lambda: results.get_state(task_id) == states.STARTED)
        queue.proxy.refuse()
        gate.touch()
        time.sleep(0.3)  # the worker tries meanwhile; too short to take it for lost
        queue.proxy.accept()

        assert "released" == results.AsyncResult(task_id).get(timeout=PATIENCE)
        assert results.AsyncResult(queue.send("nothing")).get(timeout=PATIENCE) is None

    def test_acknowledged(self, queue: Queue, results: Results) -> None:
        """The queue has all its acknowledgements: of failures, and of values that were not stored."""
        for job in (["nothing"], ["opaque"], ["fail", "own"]):
            results.wait_for(queue.send(*job), timeout=PATIENCE)

        assert until(lambda: queue.unsettled() == 0)

    def test_woken(self, queue: Queue, results: Results, tmp_path: Path) -> None:
        """A waiter is woken by push: it does not look again."""
        gate = tmp_path / "gate"
        task_id = queue.send("hold", str(gate))
        until(lambda: results.get_state(task_id) == states.STARTED)
        metas = results.as_completed([task_id], timeout=PATIENCE, updates=True)
        assert states.STARTED == next(metas).status
        gate.touch()

        assert "released" == [*metas][-1].get()
