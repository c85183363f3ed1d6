"""
Threads that work for coroutines.
"""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from coatcheck._runtime.crew import Crew
from coatcheck.errors import ThreadStartError
from coatcheck.testing.threads import until


def crews(name):
    """
    Return the threads of that *name*.
    """
    return [thread for thread in threading.enumerate() if thread.name == name]


async def test_results_and_errors():
    """
    The caller gets the result, or the exception of the call.
    """
    crew = Crew(2, "crew-results")

    def fail():
        raise LookupError("no")

    assert "crew-results" == await crew.run(lambda: threading.current_thread().name)
    with pytest.raises(LookupError, match="no"):
        await crew.run(fail)


async def test_a_crew_is_bounded():
    """
    A crew makes a limited number of calls at the same time; the others wait for their turn.
    """
    crew = Crew(3, "crew-bounded")
    lock, now, most = threading.Lock(), [], []

    def work():
        with lock:
            now.append(1)
            most.append(len(now))
        threading.Event().wait(0.005)
        with lock:
            now.pop()

    await asyncio.gather(*(crew.run(work) for _ in range(60)))

    assert (60, True) == (len(most), max(most) <= 3)
    assert len(crews("crew-bounded")) <= 3


async def test_a_cancelled_call_that_did_not_begin():
    """
    A caller that is cancelled leaves at once, and its call is not made later.
    """
    crew, go, made = Crew(1, "crew-cancelled"), threading.Event(), []
    first = asyncio.create_task(crew.run(go.wait))
    second = asyncio.create_task(crew.run(lambda: made.append(1)))
    await asyncio.sleep(0.01)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    go.set()
    await first
    await crew.run(lambda: None)

    assert [] == made


async def test_threads_end_with_their_crew():
    """
    The threads of a crew that is dropped end.
    """
    crew = Crew(4, "crew-dropped")
    await asyncio.gather(*(crew.run(lambda: None) for _ in range(8)))
    assert crews("crew-dropped")
    del crew
    gc.collect()

    await asyncio.to_thread(until, lambda: not crews("crew-dropped"))


async def test_the_last_call():
    """
    The last call comes after all others, and ends the threads.
    """
    crew, done = Crew(1, "crew-last"), []
    await crew.run(lambda: done.append("first"))
    crew.end(lambda: done.append("last"))
    await asyncio.to_thread(until, lambda: not crews("crew-last"))

    assert ["first", "last"] == done


async def test_no_thread_can_start(monkeypatch):
    """
    Without any thread a call fails at once. With one of them, calls wait for it.
    """
    crew, start = Crew(2, "crew-none"), threading.Thread.start

    def refuse(thread):
        if thread.name == "crew-none":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(ThreadStartError):
        await crew.run(lambda: 1)
    monkeypatch.undo()
    assert 1 == await crew.run(lambda: 1)
    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert [1, 1, 1] == await asyncio.gather(*(crew.run(lambda: 1) for _ in range(3)))
