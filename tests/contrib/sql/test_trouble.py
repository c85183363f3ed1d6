"""
Servers that go away, fall silent, or cannot do what is asked just now.
"""

from __future__ import annotations

import gc
import ssl
import threading
import time
import traceback
import weakref

import pytest
from support.sql import MariaDBServer, PostgreSQLServer, at_length

import coatcheck
import coatcheck.aio
from coatcheck.testing.threads import Started, until

KINDS = {"postgresql": PostgreSQLServer, "mariadb": MariaDBServer}


@pytest.fixture(params=list(KINDS))
def own_server(request):
    """A server that a test may stop."""
    with KINDS[request.param]() as server:
        yield server


def test_a_restart_is_survived(own_server):
    """
    Over a restart waits go on, stores begin again, and waits are woken as before.
    """
    with coatcheck.by_url(own_server.url) as results:
        assert results.store_result("before", 1)
        wait = Started(results.wait_for, "t", 60)
        time.sleep(0.2)
        own_server.kill()
        with pytest.raises(coatcheck.BackendUnavailableError):
            coatcheck.by_url(own_server.url, operation_timeout=0.5).store_result("t", 0)
        own_server.start()
        assert results.store_result("t", 2)

        assert 2 == wait.answer().result
        assert 1 == results.get_result("before")


def test_a_server_that_says_nothing(own_server):
    """
    An operation on a server that takes it and never answers ends in its time.
    """
    with coatcheck.by_url(own_server.url, operation_timeout=1.0) as results:
        at_length(results.store_result, "t", 1)
        with own_server.stopped(), pytest.raises(coatcheck.BackendUnavailableError):
            Started(results.store_result, "u", 1).answer()

        assert 1 == at_length(results.get_result, "t")


async def test_a_restart_is_survived_under_asyncio(postgresql_of_my_own):
    """
    The same for the side for asyncio.
    """
    import asyncio

    server = postgresql_of_my_own
    async with coatcheck.aio.by_url(server.url) as results:
        await results.store_result("before", 1)
        wait = asyncio.create_task(results.wait_for("t", timeout=60))
        await asyncio.sleep(0.2)
        server.kill()
        await asyncio.sleep(0.2)
        await asyncio.to_thread(server.start)
        assert await results.store_result("t", 2)

        assert 2 == (await wait).result


@pytest.fixture
def postgresql_of_my_own():
    """A PostgreSQL that a test may stop."""
    with PostgreSQLServer() as server:
        yield server


def test_the_connection_that_listens_is_replaced(results, postgresql):
    """
    Where the connection that listens is ended, waits are woken again by another one.
    """
    with coatcheck.by_url(postgresql.url, safety_look=600.0) as waiting:
        wait = Started(waiting.wait_for, "t", 60)
        listening = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'"
        assert until(lambda: postgresql.execute(listening))
        ((ended,),) = postgresql.execute(listening)
        postgresql.execute(f"SELECT pg_terminate_backend({ended})")
        assert until(lambda: [p for (p,) in postgresql.execute(listening) if p != ended])
        results.store_result("t", 1)

        assert 1 == wait.answer().result
        assert waiting.polling is None


def test_deadlocks_are_repeated(results, postgresql):
    """
    A store that the server ends for a deadlock with somebody else takes place all the same.
    """
    postgresql.execute("SELECT 1")
    results.store_many({"a": 1, "b": 1}, expires=60)
    results.forget("a"), results.forget("b")
    for id_ in "ab":
        results.update_state(id_, "STARTED", None)
    with postgresql.connect() as other, other.transaction():
        lock = "SELECT 1 FROM celery_taskmeta WHERE task_id = '{}' FOR UPDATE"
        other.execute(lock.format("b"))
        storing = Started(results.store_many, {"a": 2, "b": 2})
        time.sleep(0.3)  # it has "a" by now, and waits for "b"
        try:
            other.execute(lock.format("a"))
        except Exception as error:  # the server may end either of the two
            assert "deadlock" in str(error)

    assert {"a": True, "b": True} == storing.answer()


def test_serialisation_failures_are_repeated(postgresql):
    """
    Where every transaction is serialisable, racing stores elect one record all the same.
    """
    postgresql.execute("ALTER DATABASE app SET default_transaction_isolation = 'serializable'")
    try:
        with coatcheck.by_url(postgresql.url) as results:
            won = []
            for round_ in range(20):
                start = threading.Barrier(4)

                def store(number, id_=f"t{round_}", start=start):
                    start.wait()
                    return results.store_result(id_, number)

                racers = [Started(store, number) for number in range(4)]
                won.append(sum(racer.answer() for racer in racers))
            assert [1] * 20 == won
    finally:
        postgresql.execute("ALTER DATABASE app RESET default_transaction_isolation")


def test_what_the_server_refuses(postgresql):
    """
    A wrong password or database is said at once, and not tried again and again.
    """
    url = postgresql.url.replace("/app", "/nowhere")
    with coatcheck.by_url(url, operation_timeout=120.0) as results:
        start = time.monotonic()
        with pytest.raises(coatcheck.BackendError, match="nowhere"):
            results.store_result("t", 1)
        assert time.monotonic() - start < 60


def test_push_can_be_switched_off(postgresql):
    """
    With push=0 nobody listens, and waits look.
    """
    with coatcheck.by_url(f"{postgresql.url}?push=0") as results:
        wait = Started(results.wait_for, "t", 60)
        time.sleep(0.1)
        results.store_result("t", 1)

        assert 1 == wait.answer().result
        assert not postgresql.execute("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'")


def test_mysql_elects_in_a_transaction(mariadb):
    """
    Without RETURNING, as in MySQL, a store says the same of who was first.
    """
    with coatcheck.by_url(mariadb.url) as results:
        results.expect("makes the tables")
        results.backend._link.known.layout.tasks.returning = False
        start = threading.Barrier(6)

        def store(number):
            start.wait()
            return results.store_result("t", number)

        racers = [Started(store, number) for number in range(6)]
        won = [racer.answer() for racer in racers]

        assert 1 == sum(won)
        assert won.index(True) == results.get_result("t")
        assert {"t": False, "u": True} == results.store_many({"t": 9, "u": 9})


@pytest.mark.parametrize("kind", ["postgresql", "mariadb", "sqlite"])
def test_what_is_dropped_ends_at_once(request, kind):
    """
    Results that are dropped without being closed do not stay connected until the garbage collector
    comes round.
    """
    server = request.getfixturevalue(kind)
    gc.disable()
    try:
        link = None
        for n in range(10):
            results = coatcheck.by_url(server.url)
            results.store_result(f"t{n}", n)
            link = weakref.ref(results.backend._link)
        pool = results.backend._link._pool
        del results

        assert link() is None
        assert [] == pool._idle
        assert not pool.turns.are_taken
        if kind != "sqlite":
            assert until(lambda: server.connections() == 0)
    finally:
        gc.enable()


@pytest.mark.parametrize("side", ["sync", "aio"])
@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
async def test_the_user_is_not_named(request, caplog, kind, side):
    """
    What a server says of a user whom it refuses is passed on without the name.
    """
    caplog.set_level("DEBUG")
    server = request.getfixturevalue(kind)
    url = server.url.replace("root@", "my-name:my-word@").replace("postgres@", "my-name:my-word@")
    said = ""
    if side == "sync":
        with coatcheck.by_url(url) as results, pytest.raises(coatcheck.BackendError) as caught:
            results.store_result("t", 1)
        with coatcheck.by_url(url) as results, pytest.raises(coatcheck.WaitTimeoutError) as late:
            results.wait_for("t", 0.2)
    else:
        url = f"db+{url}"
        async with coatcheck.aio.by_url(url) as results:
            with pytest.raises(coatcheck.BackendError) as caught:
                await results.store_result("t", 1)
            with pytest.raises(coatcheck.WaitTimeoutError) as late:
                await results.wait_for("t", timeout=0.2)
            said += str(results.polling)
    for error in (caught.value, late.value):
        said += "".join(traceback.format_exception(error))

    assert "my-name" not in said + caplog.text
    assert "my-word" not in said + caplog.text
    assert "***" in str(caught.value)


def test_a_server_that_is_away_costs_little(own_server, monkeypatch):
    """
    What is tried again and again while the server is away makes nothing that only a server needs.
    """
    made = []
    create = ssl.create_default_context
    monkeypatch.setattr(
        ssl, "create_default_context", lambda *a, **o: made.append(1) or create(*a, **o)
    )
    with coatcheck.by_url(own_server.url, operation_timeout=0.5) as results:
        own_server.kill()
        with pytest.raises(coatcheck.BackendUnavailableError):
            results.store_result("t", 1)

    assert not made
