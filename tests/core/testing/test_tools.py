"""
The tools of `coatcheck.testing`: the proxy, the doubles, the machine, and cancelling.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest
from support.processes import free_port

import coatcheck
from coatcheck._embedded import memory
from coatcheck._embedded.memory import MemoryBackend
from coatcheck.testing import machine
from coatcheck.testing.cancelling import CancelAt, everywhere
from coatcheck.testing.doubles import Failing, FakeClock, Quiet, Stalling, Wrapping
from coatcheck.testing.proxy import Proxy
from coatcheck.testing.threads import Started, in_threads, until

# -- the proxy ------------------------------------------------------------------------------


@pytest.fixture
def echo():
    """A server that repeats each piece of its input; `heard` has the pieces."""
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        with connection:
            while data := connection.recv(100):
                heard.append(data)
                connection.sendall(data)

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1], heard
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture
def proxy(echo):
    with Proxy("127.0.0.1", echo[0]) as proxy:
        yield proxy


@pytest.fixture
def connect(proxy):
    """Return a function that connects by way of the proxy."""
    made = []

    def connect():
        made.append(socket.create_connection(("127.0.0.1", proxy.port), timeout=30))
        return made[-1]

    yield connect
    for connection in made:
        connection.close()


def ask(connection, data=b"x"):
    connection.sendall(data)
    return connection.recv(100)


def is_cut(connection):
    """Whether the other side is gone."""
    try:
        return connection.recv(100) == b""
    except ConnectionError:
        return True


def test_proxy_passes_on(connect):
    """Without trouble the proxy passes data on."""
    one, other = connect(), connect()

    assert [b"1", b"2", b"3"] == [ask(one, b"1"), ask(other, b"2"), ask(one, b"3")]


def test_proxy_cuts(proxy, connect):
    """All connections are cut, and new ones are taken."""
    one, other = connect(), connect()
    ask(one), ask(other)
    proxy.cut()

    assert is_cut(one)
    assert is_cut(other)
    assert b"x" == ask(connect())


def test_proxy_drops_replies(proxy, connect, echo):
    """A reply is dropped with its connection, after the request went through."""
    connection = connect()
    ask(connection, b"warm")
    proxy.drop_replies(1)
    connection.sendall(b"asked")

    assert is_cut(connection)
    assert [b"warm", b"asked"] == echo[1]
    assert 1 == proxy.dropped
    assert b"x" == ask(connect())


def test_proxy_stalls(proxy, connect):
    """Data that is held back arrives after the stall."""
    connection = connect()
    proxy.stall()
    connection.sendall(b"x")
    connection.settimeout(0.1)
    with pytest.raises(TimeoutError):
        connection.recv(100)
    proxy.resume()
    connection.settimeout(30)

    assert b"x" == connection.recv(100)


def test_proxy_refuses(proxy, connect):
    """Connections end at once, until they are taken again."""
    connection = connect()
    ask(connection)
    proxy.refuse()

    assert is_cut(connection)
    assert is_cut(connect())
    proxy.accept()
    assert b"x" == ask(connect())


def test_proxy_delays(proxy, connect):
    """There and back takes twice the delay."""
    proxy.delay(0.1)
    start = time.monotonic()

    assert b"x" == ask(connect())
    assert time.monotonic() - start >= 0.2


def test_proxy_without_server():
    """Where nobody listens behind it, connections end."""
    with (
        Proxy("127.0.0.1", free_port()) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as connection,
    ):
        assert is_cut(connection)


# -- the doubles ----------------------------------------------------------------------------


def test_clock():
    """A clock goes on only when it is told to."""
    clock = FakeClock(10.0)
    clock.sleep(5)

    assert (15.0, 15.0) == (clock.monotonic(), clock.time())
    assert "1970-01-01T00:00:15+00:00" == clock.now().isoformat()


@pytest.mark.parametrize("double", [Wrapping, Quiet, lambda b: Failing(b, operations=()), Stalling])
def test_doubles_pass_on(double):
    """But for the one thing it is for, a double is the backend that it holds."""
    backend = MemoryBackend()
    wrapped = double(backend)
    if isinstance(wrapped, Stalling):
        wrapped.answer.set()
    with coatcheck.Results(wrapped) as results:
        assert results.store_result("t", 1)
        assert {"a": True} == results.store_many({"a": 2})
        assert 1 == results.wait_for("t", 30).result
        assert {"a", "t"} == {meta.task_id for meta in results.scan()}
        assert results.forget("t")
        assert 0 == results.purge()
        assert results._codec is backend.codec


def test_failing():
    """It fails in the named operations, with the given error, until that is `None`."""
    backend = Failing(error=coatcheck.BackendStoreError("full"), operations=["put", "delete_many"])
    with coatcheck.Results(backend) as results:
        with pytest.raises(coatcheck.BackendStoreError, match="full"):
            results.store_result("t", 1)
        with pytest.raises(coatcheck.BackendStoreError, match="full"):
            results.forget("t")
        assert not results.exists("t")
        backend.error = None

        assert results.store_result("t", 1)


@pytest.mark.parametrize("operation", ["put_many", "watch", "get_many"])
def test_failing_elsewhere(operation):
    """Each operation can be the one that fails; a wait without subscription looks."""
    backend = Failing(operations=[operation])
    with coatcheck.Results(backend) as results:
        results.store_result("t", 1)
        if operation == "watch":
            assert 1 == results.wait_for("t", 30).result
        else:
            call = {"put_many": lambda: results.store_many({"a": 1})}
            with pytest.raises(coatcheck.BackendUnavailableError, match="away"):
                call.get(operation, lambda: results.get_many("a"))()


def test_quiet():
    """It never rings, says so, and counts the looks."""
    backend = Quiet()
    with coatcheck.Results(backend) as results:
        wait = Started(results.wait_for, "t", 30)
        until(lambda: backend.looks > 2)
        results.store_result("t", 1)

        assert 1 == wait.answer().result
        assert coatcheck.Capability.PUSH not in results.backend.capabilities


# -- threads --------------------------------------------------------------------------------


def test_threads_answer():
    """Answers come in order, and errors are raised."""
    assert [0, 1, 2] == in_threads([lambda n=n: n for n in range(3)])
    with pytest.raises(ZeroDivisionError):
        in_threads([lambda: 1 / 0])


def test_threads_that_hang():
    """A hanging thread and an unmet condition fail an assertion."""
    event = threading.Event()
    with pytest.raises(AssertionError, match="hangs"):
        Started(event.wait).answer(patience=0.05)
    event.set()
    with pytest.raises(AssertionError, match="come true"):
        until(lambda: False, patience=0.05)


# -- the machine ----------------------------------------------------------------------------


def test_machine_on_a_clock(monkeypatch):
    """With a clock to turn by hand, no time passes, and short lives end all the same."""
    clock = FakeClock()
    monkeypatch.setattr(memory, "monotonic", clock.monotonic)
    start = time.monotonic()
    with coatcheck.Results(MemoryBackend()) as results:
        machine.check(results.backend, examples=50, clock=clock.monotonic, sleep=clock.sleep)

    assert clock.monotonic() > 1_000_000
    assert time.monotonic() - start < 30


class Keeps(MemoryBackend):
    """Keeps records that should expire."""

    def put(self, key, value, *, expires, **how):
        return super().put(key, value, expires=None, **how)


class Counts(MemoryBackend):
    """Counts absent records as deleted."""

    def delete_many(self, keys):
        super().delete_many(keys)
        return len(keys)


class Answers(MemoryBackend):
    """Says that it wrote."""

    def put(self, key, value, **how):
        return super().put(key, value, **how) or True


@pytest.mark.parametrize("broken", [Keeps, Counts, Answers])
def test_machine_notices(broken):
    """A backend that differs from the model is noticed."""
    with coatcheck.Results(broken()) as results, pytest.raises(AssertionError):
        machine.check(results.backend, examples=100)


# -- cancelling -----------------------------------------------------------------------------


async def three_pauses(log):
    for number in (1, 2, 3):
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            log.append(number)
            raise
    return "done"


async def test_cancelled_at_each_pause():
    """A coroutine is cancelled at its first pause, at its second, at its third, and then ends."""
    log: list[int] = []
    outcomes = [outcome async for _, outcome in everywhere(lambda _: three_pauses(log))]

    assert [1, 2, 3] == log
    assert [asyncio.CancelledError] * 3 == list(map(type, outcomes))


async def test_not_reached():
    """A coroutine that ends earlier keeps its answer, or its error."""
    run = CancelAt(three_pauses([]), 4)

    assert not await run.run()
    assert "done" == run.outcome


async def test_cancellation_under_a_timeout():
    """A coroutine's own timeouts survive a cancellation of its await."""

    async def guarded():
        async with asyncio.timeout(30):
            await asyncio.Event().wait()

    run = CancelAt(guarded(), 1)

    assert await run.run()
    assert isinstance(run.outcome, asyncio.CancelledError)
