"""
Tables that others hold, slow statements, and connections that lead nowhere: what is given up ends at
the server, too, and nobody takes more connections than the pool has.
"""

from __future__ import annotations

import asyncio
import contextvars
import signal
import sqlite3
import time
from contextlib import closing, contextmanager
from functools import partial

import pytest
from psycopg.errors import QueryCanceled
from support.sql import PgBouncer, at_length

import coatcheck
import coatcheck.aio
from coatcheck.testing.patience import PATIENCE
from coatcheck.testing.proxy import Proxy
from coatcheck.testing.threads import Started, until
from coatcheck_sql.asyncio_bounded import AsyncConnection
from coatcheck_sql.bounded import PooledConnection
from coatcheck_sql.bounded_sqlite import BoundedConnection as BoundedSQLite
from coatcheck_sql.deadline import DEADLINE
from coatcheck_sql.limits import Limits
from coatcheck_sql.link_base import SWEEP_EVERY
from coatcheck_sql.wire import Statement

#: Seconds that an operation may take, and that tables are held.
TIMEOUT = 1.0
HELD = 3 * TIMEOUT
#: Connections of the pool, and the one that listens.
MOST = 10 + 1
SLEEP = Statement("SELECT CAST(pg_sleep(600) AS text)")
ASKS = [lambda c: c.ask(SLEEP, {}), lambda c: c.execute(SLEEP.text)]
LIMIT = Statement("SELECT current_setting('statement_timeout') AS limit", {"limit": "text"})


@contextmanager
def held(server, table="celery_taskmeta"):
    """While this lasts nobody reads or writes the table."""
    with closing(server.connect()) as holder, closing(holder.cursor()) as cursor:
        if server.url.startswith("mariadb"):
            cursor.execute(f"LOCK TABLES {table} WRITE")
        else:
            cursor.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


def tried(operation, *arguments, **options):
    """Try an operation; it may fail, as long as it says so."""
    try:
        operation(*arguments, **options)
    except (coatcheck.BackendError, coatcheck.WaitTimeoutError):
        return


async def aio_at_length(operation, *arguments):
    """As `at_length`, for asyncio."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await operation(*arguments)
        except coatcheck.BackendUnavailableError:
            if time.monotonic() > deadline:
                raise


@pytest.fixture(params=["postgresql", "pooler", "mariadb"])
def place(request):
    """A server, and the URL by which it is reached."""
    server = request.getfixturevalue("mariadb" if request.param == "mariadb" else "postgresql")
    if request.param != "pooler":
        yield server, server.url
        return
    with PgBouncer(server) as pooler:
        yield server, f"{pooler.url}?prepare=0&push=0"


def test_no_more_connections_than_the_pool_has(place):
    """
    Four threads store and one waits while the table is held: the server has few sessions of theirs
    at any time, and all works afterwards.
    """
    server, url = place
    with coatcheck.by_url(url, operation_timeout=TIMEOUT) as results:
        at_length(results.store_result, "before", 1)
        with held(server):
            end = time.monotonic() + HELD

            def store(number):
                while time.monotonic() < end:
                    tried(results.store_result, f"t{number}", number)

            working = [Started(store, number) for number in range(4)]
            working.append(Started(tried, results.wait_for, "never", HELD))
            counts = []
            while time.monotonic() < end:
                counts.append(server.connections())
                time.sleep(0.05)
            for started in working:
                started.answer()

        assert max(counts) <= MOST + 1  # the holder
        at_length(results.store_result, "after", 2)
        assert 2 == at_length(results.get_result, "after")
        assert 1 == at_length(results.get_result, "before")


async def test_no_more_connections_under_asyncio(postgresql):
    """
    The same for the side for asyncio.
    """
    async with coatcheck.aio.by_url(postgresql.url, operation_timeout=TIMEOUT) as results:
        await aio_at_length(results.store_result, "before", 1)
        with held(postgresql):
            end = time.monotonic() + HELD

            async def store(number):
                while time.monotonic() < end:
                    with pytest.raises(coatcheck.BackendError):
                        await results.store_result(f"t{number}", number)

            working = [asyncio.create_task(store(number)) for number in range(4)]
            waiting = asyncio.create_task(results.wait_for("never", timeout=HELD))
            counts = []
            while time.monotonic() < end:
                counts.append(await asyncio.to_thread(postgresql.connections))
                await asyncio.sleep(0.05)
            await asyncio.gather(*working)
            with pytest.raises(coatcheck.WaitTimeoutError):
                await waiting

        assert max(counts) <= MOST + 1  # the holder
        await aio_at_length(results.store_result, "after", 2)
        assert 2 == await aio_at_length(results.get_result, "after")
        assert 1 == await aio_at_length(results.get_result, "before")


def busy(server):
    """How many sessions wait for a lock, or work."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' AND state = 'active' "
        "AND pid <> pg_backend_pid()"
    )
    return server.execute(query)[0][0]


OPERATIONS = {
    "store": ("celery_taskmeta", lambda r: r.store_result("t", 1)),
    "store many": ("celery_taskmeta", lambda r: r.store_many({"t": 1, "u": 2})),
    "read": ("celery_taskmeta", lambda r: r.get_many(["t", "u"])),
    "forget": ("celery_taskmeta", lambda r: r.forget("t")),
    "scan": ("celery_taskmeta", lambda r: list(r.backend.scan())),
    "purge": ("celery_taskmeta", lambda r: r.backend.purge()),
    "store a group": ("celery_tasksetmeta", lambda r: r.backend.put_group("g", ["t"], expires=9)),
    "read a group": ("celery_tasksetmeta", lambda r: r.backend.get_group("g")),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pooler"])
def test_what_is_given_up_ends(postgresql, operation, pooled):
    """
    Each operation on a table that is held fails, and leaves nothing that waits for the lock.
    """
    table, operate = OPERATIONS[operation]
    with PgBouncer(postgresql) as pooler:
        url = f"{pooler.url}?prepare=0&push=0" if pooled else postgresql.url
        with coatcheck.by_url(url, operation_timeout=0.4) as results:
            at_length(results.store_result, "before", 1)
            with held(postgresql, table):
                with pytest.raises(coatcheck.BackendUnavailableError):
                    operate(results)

                assert until(lambda: busy(postgresql) == 0)
            at_length(operate, results)


@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pooler"])
def test_looking_the_tables_up_is_given_up(postgresql, pooled):
    """
    A process that begins while the table of versions is held waits for it in vain, and leaves
    nothing; so does one that would have to add columns.
    """
    with coatcheck.by_url(postgresql.url) as results:
        results.store_result("before", 1)
    with PgBouncer(postgresql) as pooler:
        url = f"{pooler.url}?prepare=0&push=0" if pooled else postgresql.url
        with coatcheck.by_url(url, operation_timeout=0.4) as results:
            with held(postgresql, "coatcheck_versions"):
                with pytest.raises(coatcheck.BackendUnavailableError):
                    results.store_result("t", 1)
                assert until(lambda: busy(postgresql) == 0)
            postgresql.execute("ALTER TABLE celery_taskmeta DROP COLUMN more")
            with held(postgresql):
                with pytest.raises(coatcheck.BackendUnavailableError):
                    results.store_result("t", 1)
                assert until(lambda: busy(postgresql) == 0)
            at_length(results.store_result, "t", 1)
            assert 1 == at_length(results.get_result, "t")


@pytest.fixture
def connection(postgresql):
    """A connection that takes its time to give up."""
    with PooledConnection.connect(postgresql.url, autocommit=True) as connection:
        connection.giving_up = 60.0
        yield connection


@pytest.fixture
def soon():
    """A deadline that passes in a moment."""
    token = DEADLINE.set(time.monotonic() + 0.1)
    yield
    DEADLINE.reset(token)


@pytest.mark.parametrize("ask", ASKS)
def test_a_statement_is_cancelled(connection, soon, ask):
    """
    A statement that is given up is cancelled; the session goes on.
    """
    with pytest.raises(QueryCanceled):
        ask(connection)

    DEADLINE.set(float("inf"))
    assert [{"limit": "0"}] == connection.ask(LIMIT, {})
    assert ("0",) == connection.execute(LIMIT.text).fetchone()


@pytest.mark.parametrize("ask", ASKS)
async def test_a_statement_is_cancelled_under_asyncio(postgresql, ask):
    """
    The same for the side for asyncio.
    """
    connection = await AsyncConnection.connect(postgresql.url, autocommit=True)
    async with connection:
        connection.giving_up = 60.0
        DEADLINE.set(time.monotonic() + 0.1)
        with pytest.raises(QueryCanceled):
            await ask(connection)

        DEADLINE.set(float("inf"))
        assert [{"limit": "0"}] == await connection.ask(LIMIT, {})
        assert ("0",) == await (await connection.execute(LIMIT.text)).fetchone()


class Alarm(Exception):
    """What the handler of a signal raises."""


@pytest.mark.parametrize("ask", ASKS)
def test_an_interrupted_statement_ends(connection, postgresql, ask):
    """
    A statement that an exception of a signal's handler interrupts ends at the server.
    """

    def raise_alarm(*_):
        raise Alarm

    before = signal.signal(signal.SIGALRM, raise_alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Alarm):
            ask(connection)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert connection.closed
    assert until(lambda: busy(postgresql) == 0)


def test_the_server_keeps_to_limits(connection, postgresql):
    """
    The server itself ends what nobody is there to cancel; behind a pooler for one transaction at a
    time, since others use the session as well.
    """
    connection.begin(Limits(7.0, 3.0, 1.0))

    assert [{"limit": "7s"}] == connection.ask(LIMIT, {})
    assert ("3s",) == connection.execute("SHOW lock_timeout").fetchone()
    with PgBouncer(postgresql) as pooler:
        with PooledConnection.connect(pooler.url, autocommit=True) as pooled:
            pooled.begin(Limits(7.0, 3.0, 1.0))

            assert [{"limit": "7s"}] * 9 == [pooled.ask(LIMIT, {})[0] for _ in range(9)]
        assert [("0",)] == pooler.execute("SHOW statement_timeout")


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_connections_that_were_forgotten(request, kind):
    """
    Connections that lead nowhere, of which nobody has said so, cost one operation a part of its
    time, and no other.
    """
    server = request.getfixturevalue(kind)
    with Proxy("127.0.0.1", server.port) as proxy:
        url = server.url.replace(str(server.port), str(proxy.port))
        with coatcheck.by_url(url, max_connections=20) as results:
            results.store_result("first", 1)
            storing = [Started(results.store_result, f"t{n}", n) for n in range(20)]
            assert all(started.answer() for started in storing)
            proxy.forget()

            assert results.store_result("second", 2)
            assert 2 == results.get_result("second")


async def test_connections_that_were_forgotten_under_asyncio(postgresql):
    """
    The same for the side for asyncio.
    """
    with Proxy("127.0.0.1", postgresql.port) as proxy:
        url = postgresql.url.replace(str(postgresql.port), str(proxy.port))
        options = {"max_connections": 20}
        async with coatcheck.aio.by_url(url, **options) as results:
            await results.store_result("first", 1)
            await asyncio.gather(*(results.store_result(f"t{n}", n) for n in range(20)))
            proxy.forget()

            assert await results.store_result("second", 2)
            assert 2 == await results.get_result("second")


def test_a_sweep_that_fails_fails_no_store(postgresql):
    """
    Where expired records cannot be removed just now, the store that would have done so succeeds.
    """
    with coatcheck.by_url(postgresql.url, operation_timeout=3.0) as results:
        results.store_result("before", 1)
        results.backend._link._writes = SWEEP_EVERY - 1
        with held(postgresql, "celery_tasksetmeta"):
            assert results.store_result("t", 1)
        assert SWEEP_EVERY == results.backend._link._writes


async def test_a_sweep_that_fails_fails_no_store_under_asyncio(postgresql):
    """
    The same for the side for asyncio.
    """
    async with coatcheck.aio.by_url(postgresql.url, operation_timeout=3.0) as results:
        await results.store_result("before", 1)
        results.backend._links.get()._writes = SWEEP_EVERY - 1
        with held(postgresql, "celery_tasksetmeta"):
            assert await results.store_result("t", 1)


#: Has every write count for ever.
ENDLESS = """
CREATE TRIGGER endless BEFORE INSERT ON celery_taskmeta BEGIN
    SELECT count(*) FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c);
END
"""


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_an_endless_statement_of_sqlite_ends(sqlite, many):
    """
    A statement of SQLite that does not end by itself is given up in time.
    """
    with coatcheck.by_url(sqlite.url, operation_timeout=0.4) as results:
        at_length(results.store_result, "before", 1)
        with closing(sqlite3.connect(sqlite.path, isolation_level=None)) as other:
            other.execute(ENDLESS)
        store = (
            partial(results.store_many, {"t": 1}) if many else partial(results.store_result, "t", 1)
        )
        with pytest.raises(coatcheck.BackendUnavailableError, match="interrupted"):
            Started(store).answer()

        assert 1 == at_length(results.get_result, "before")


def test_statements_of_sqlite_share_the_time(sqlite, soon):
    """
    However many statements an operation has, they wait for locks no longer than it may take.
    """
    with (
        closing(sqlite3.connect(sqlite.path, isolation_level=None)) as holder,
        closing(
            BoundedSQLite(sqlite.path, isolation_level=None, check_same_thread=False)
        ) as connection,
    ):
        holder.execute("CREATE TABLE t (n)")
        holder.execute("BEGIN EXCLUSIVE")
        for statement in ("SELECT * FROM t", "DELETE FROM t", "SELECT * FROM t"):
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                Started(contextvars.copy_context().run, connection.execute, statement).answer()
