"""
The log of a task: its events, their numbers, and the end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ... import (
    Capability,
    EncodeError,
    ResultTooLargeError,
    SerializationError,
    TaskRevokedError,
    UnsupportedError,
    WaitTimeoutError,
)
from ... import Results as SyncResults
from ..._backends.logs import LOG_BYTES, LOG_EVENTS
from ...aio import Results
from ...states import READY_STATES
from ..promises import core, expiring, needs, promise
from ..proof import PATIENCE, has, record_of
from ..proxy import Proxy
from ..samples import SEALED, SEALED_OTHERWISE
from ..sides import patiently, pause, start, together
from .case import Case
from .expiry import LIVES, gone
from .reconnecting import FAR

#: How long a record of these tests lives, in seconds.
LIFE = 60


async def append(results: Results, task_id: str, *events: bytes, expires: float = LIFE) -> Any:
    """Append events of any bytes under a record in PROGRESS."""
    meta = record_of(results, task_id, "PROGRESS", None)
    return await results.backend.append(task_id, meta, events, unless=READY_STATES, expires=expires)


async def told(results: Results, task_id: str, after: int = 0) -> list[tuple[int, Any]]:
    """Return number and data of all events up to the end; of the end, the state."""
    return [
        (event.number, event.state if event.last else event.data)
        async for event in results.events(task_id, after, timeout=PATIENCE)
    ]


async def stored(results: Results, task_id: str, after: int = 0) -> list[Any]:
    """Return the events that are there now, of a task that goes on."""
    events = []
    with pytest.raises(WaitTimeoutError):
        async for event in results.events(task_id, after, timeout=0):
            events.append(event)  # noqa: PERF401 - it raises in the end
    return events


async def refused(results: Results) -> None:
    """Prove that a store without events says so, and that work goes on."""
    with pytest.raises(UnsupportedError, match="EVENTS"):
        await told(results, "t")
    with pytest.raises(UnsupportedError, match="EVENTS"):
        await results.attempts("t")
    async with results.running("t") as task:
        await task.progress(1)
        with pytest.raises(UnsupportedError, match="EVENTS"):
            await task.emit(1)


class Events(Case):
    """Promise 12."""

    @core
    @promise(12, 4)
    async def test_events(self, results: Results, other: SyncResults) -> None:
        """
        Events are numbered from 1 and replayed from any number, up to the ready record; a store
        without them refuses.
        """
        if not has(results, Capability.EVENTS):
            await refused(results)
            return
        async with results.running("t") as task:
            await task.progress(1, 2)
            await task.emit({"text": "x\0é", "none": None}, kind="log")
            with pytest.raises(EncodeError, match="at fault"):
                await task.emit({"at fault": object()})
            await task.update_state("CLEANING", "up")
            task.result = 42
        late = [event async for event in results.events("t", timeout=PATIENCE)]

        assert [1, 2, 3, 4, 5] == [event.number for event in late]
        assert ["state", "progress", "log", "state", "state"] == [event.kind for event in late]
        states = ["STARTED", None, None, "CLEANING", "SUCCESS"]
        assert states == [event.state for event in late]
        data = [{"current": 1, "total": 2}, {"text": "x\0é", "none": None}, "up", 42]
        assert data == [event.data for event in late[1:]]
        assert [False] * 4 + [True] == [event.last for event in late]
        assert all(event.date is not None and not event.dropped for event in late)
        for after in range(7):
            numbers = [event.number for event in other.events("t", after, timeout=PATIENCE)]
            assert numbers == ([*range(after + 1, 6)] or [5])

    @promise(12)
    async def test_no_events(self, results: Results, other: SyncResults) -> None:
        """A task that emitted nothing has its start and its end for events, as the record tells."""
        if not has(results, Capability.EVENTS):
            return
        reading = start(told(results, "t"))
        with other.running("t") as task:
            task.result = 1
        other.store_result("bare", 1)

        assert (2, "SUCCESS") == (await reading)[-1]
        assert [1, 2] == [number for number, _ in await told(results, "t")]
        assert [(2, "SUCCESS")] == await told(results, "t", 1)
        assert [(1, "SUCCESS")] == await told(results, "bare")
        (attempt,) = await results.attempts("t")
        assert ("SUCCESS", None) == (attempt.state, attempt.error)
        assert attempt.worker is not None
        assert attempt.started is not None
        assert attempt.ended is not None

    @promise(12)
    async def test_attempts(self, results: Results) -> None:
        """Each attempt has its worker, start, end and error."""
        if not has(results, Capability.EVENTS):
            return
        for number in (1, 2):
            task = results.running("t", worker=f"w{number}", attempt=number)
            await task.__aenter__()  # what follows is a retry, and no end
            await task.progress(number)
            await results.mark_as_retry("t", ValueError(f"e{number}"))
        async with results.running("t", worker="w3") as last:
            last.result = 3
        attempts = await results.attempts("t")

        assert ["w1", "w2", "w3"] == [attempt.worker for attempt in attempts]
        assert ["RETRY", "RETRY", "SUCCESS"] == [attempt.state for attempt in attempts]
        assert ["e1", "e2"] == [str(attempt.error) for attempt in attempts[:2]]
        assert all(attempt.started and attempt.ended for attempt in attempts)
        log = await told(results, "t")
        assert [1, 2, 3, 4, 5, 6, 7] == [number for number, _ in log]

    @core
    @promise(12, 9)
    async def test_racing_events(self, results: Results) -> None:
        """Writers at the same moment get numbers without gaps, each its own."""
        if not has(results, Capability.EVENTS):
            return
        async with self.new_results() as second:
            clients = [results, second] * 15
            numbers = await together(
                append(client, "t", b'{"n": %d}' % n) for n, client in enumerate(clients)
            )
        log = await results.backend.get_log("t")

        assert list(range(1, 31)) == sorted(numbers)
        assert 30 == log.last
        assert [b'{"n": %d}' % numbers.index(n) for n in range(1, 31)] == list(log.events)

    @promise(12, 1)
    async def test_no_event_after_the_end(self, results: Results, other: SyncResults) -> None:
        """Once the task is over nothing is appended, so the end is the end."""
        if not has(results, Capability.EVENTS):
            return
        async with results.running("t") as task:
            await task.emit(1)
            other.mark_as_revoked("t")
            with pytest.raises(TaskRevokedError):
                await task.emit(2)

        assert task.won is False
        assert (2, 1) == (await told(results, "t"))[1]
        assert [(3, "REVOKED")] == await told(results, "t", 2)
        assert await append(results, "t", b"{}") is None

    @promise(12, 2)
    async def test_events_arrive(self, other: SyncResults) -> None:
        """
        A waiting reader gets each event as it is emitted; where the store pushes, the bell wakes it.
        """
        async with self.new_results(safety_look=FAR) as results:
            if not has(results, Capability.EVENTS):
                return
            events: AsyncIterator[Any] = results.events("t", timeout=PATIENCE)
            with other.running("t") as task:
                assert "STARTED" == (await anext(events)).state
                for number in range(2, 6):
                    task.emit(number)
                    event = await anext(events)
                    assert (number, number) == (event.number, event.data)
            assert (await anext(events)).last
            with pytest.raises(StopAsyncIteration):
                await anext(events)

    @promise(12, 3)
    async def test_events_are_bounded(self, results: Results) -> None:
        """A log drops its oldest events and says how many; no event is larger than a log."""
        if not has(results, Capability.EVENTS):
            return
        for first in range(1, LOG_EVENTS + 101, 100):
            batch = [b'{"status": "event", "result": %d}' % n for n in range(first, first + 100)]
            assert first + 99 == await append(results, "many", *batch)
        large = b'{"status": "event", "result": "%s"}' % (b"x" * (LOG_BYTES // 3 - 100))
        for _ in range(2):
            await append(results, "large", large, large)
        async with results.running("refused") as task:
            with pytest.raises(ResultTooLargeError):
                await task.emit("x" * LOG_BYTES)
        kept = await stored(results, "many")

        assert list(range(101, LOG_EVENTS + 101)) == [event.number for event in kept]
        assert [event.number for event in kept] == [event.data for event in kept]
        assert (100, 0) == (kept[0].dropped, kept[1].dropped)
        assert 90 == (await stored(results, "many", 10))[0].dropped
        assert [(LOG_EVENTS + 100, 0)] == [
            (event.number, event.dropped)
            for event in await stored(results, "many", LOG_EVENTS + 99)
        ]
        assert [(2, 1), (3, 0), (4, 0)] == [
            (event.number, event.dropped) for event in await stored(results, "large")
        ]

    @expiring
    @promise(12, 3)
    async def test_log_ends_with_its_record(self, results: Results) -> None:
        """A log lives as long as the record that was written last, and is forgotten with it."""
        if not has(results, Capability.EVENTS):
            return
        await append(results, "forgotten", b"{}")
        assert await results.forget("forgotten")
        await append(results, "kept", b"{}", expires=LIVES[0])
        await results.mark_as_started("kept", expires=LIFE)
        await append(results, "ends", b"{}", b"{}")
        await results.mark_as_started("ends", expires=LIVES[0])
        await append(results, "new", b"{}", b"{}", expires=LIVES[0])
        await gone(results, "ends", "new")
        await results.mark_as_started("new")
        logs = {
            id_: await results.backend.get_log(id_) for id_ in ("forgotten", "kept", "ends", "new")
        }

        assert {"forgotten": 0, "kept": 1, "ends": 0, "new": 0} == {
            id_: log.last for id_, log in logs.items()
        }
        for id_ in ("forgotten", "ends", "new"):
            assert 1 == await append(results, id_, b"{}")
            assert [b"{}"] == list((await results.backend.get_log(id_)).events)

    @promise(12, 5, 6)
    async def test_damaged_events(self, results: Results) -> None:
        """An event that cannot be read, or forges the end, breaks no reader; the others arrive."""
        if not has(results, Capability.EVENTS):
            return
        forged = b'{"status": "SUCCESS", "result": "forged", "task_id": "t"}'
        await append(results, "t", b"\xff\x00", forged, b'{"status": "event", "result": 3}')
        await results.store_result("t", "true")
        events = [event async for event in results.events("t", timeout=PATIENCE)]

        assert [1, 2, 3, 4] == [event.number for event in events]
        assert isinstance(events[0].error, SerializationError)
        assert [False, False, False, True] == [event.last for event in events]
        assert [3, "true"] == [event.data for event in events[2:]]

    @promise(12, 5)
    async def test_sealed_events(self, results: Results) -> None:
        """Events are signed as records are; a reader with another key does not believe them."""
        if not has(results, Capability.EVENTS):
            return
        async with (
            self.new_results(**SEALED) as sealed,
            self.new_results(**SEALED_OTHERWISE) as stranger,
        ):
            async with sealed.running("t") as task:
                await task.emit("secret" * 100, kind="log")
                events = await stored(sealed, "t")
                strange = await stored(stranger, "t")

            assert ["state", "log"] == [event.kind for event in events]
            assert "secret" * 100 == events[1].data
            assert [1, 2] == [event.number for event in strange]
            assert all(isinstance(event.error, SerializationError) for event in strange)

    @promise(12, 2)
    @needs("address", "through")
    async def test_events_over_cuts(self, proxy: Proxy, other: SyncResults) -> None:
        """A reader whose connections are cut gets each event once, in order."""
        async with self.results_through(proxy) as results:
            if not has(results, Capability.EVENTS):
                return
            reading = start(told(results, "t"))
            with other.running("t") as task:
                for number in range(2, 42):
                    task.emit(number)
                    if number % 10 == 0:
                        await pause(0.05)
                        proxy.cut()
            events = await reading

        assert [(n, n) for n in range(2, 42)] == events[1:-1]
        assert [1, 42] == [events[0][0], events[-1][0]]

    @promise(12)
    @needs("address", "through")
    async def test_event_with_lost_reply(self, proxy: Proxy, other: SyncResults) -> None:
        """An event whose reply is lost is appended once."""
        async with self.results_through(proxy) as results:
            if not has(results, Capability.EVENTS):
                return
            await append(results, "t", b"{}")
            for number in range(2, 5):
                proxy.drop_replies(1)
                assert number == await patiently(append(results, "t", b'{"n": %d}' % number))
        log = other.backend.get_log("t", 1)

        assert [b'{"n": %d}' % n for n in range(2, 5)] == list(log.events)
