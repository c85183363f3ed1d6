"""
What goes to libpq past psycopg, and what comes back.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

import coatcheck
import coatcheck.aio
from coatcheck.testing.threads import until
from coatcheck_sql.asyncio_bounded import AsyncConnection
from coatcheck_sql.bounded import PooledConnection
from coatcheck_sql.wire import Statement

NOW = datetime(2026, 11, 22, 12, 30, 15, 123456, UTC)
VALUES = {
    "text": "Ärger",
    "bytea": b"\0\xff",
    "integer": -(2**31),
    "timestamptz": NOW,
    "text[]": ["a", None, ""],
    "bytea[]": [b"\0", None],
    "integer[]": [1, None],
    "timestamptz[]": [NOW, None],
}
PREPARED = Statement(
    "SELECT count(*) AS count FROM pg_prepared_statements WHERE name LIKE 'coatcheck%'",
    {"count": "integer"},
)


@pytest.fixture
def connection(postgresql):
    """A connection for synchronous code."""
    connection = PooledConnection.connect(postgresql.url, autocommit=True)
    yield connection
    connection.close()


@pytest.mark.parametrize("kind", VALUES)
def test_values(connection, kind):
    """
    A value arrives as the server's type, and comes back as it was.
    """
    one = kind.removesuffix("[]")
    made = Statement(f"SELECT unnest(CAST(:v AS {one}[])) AS v", {"v": one})
    if one == kind:
        made = Statement(f"SELECT CAST(:v AS {kind}) AS v", {"v": kind})
    rows = connection.ask(made, {"v": VALUES[kind]})
    wanted = [VALUES[kind]] if one == kind else VALUES[kind]

    assert wanted == [row.get("v") for row in rows]
    assert [{}] * (one == kind) == connection.ask(made, {})


def test_dates_that_python_has_not(connection):
    """
    A date beyond Python's years is none.
    """
    statement = Statement("SELECT CAST(:v AS timestamptz) AS v", {"v": "timestamptz"})
    beyond = Statement("SELECT CAST('infinity' AS timestamptz) AS v", {"v": "timestamptz"})

    assert [{"v": None}] == connection.ask(beyond, {})
    assert [{"v": NOW}] == connection.ask(statement, {"v": NOW})


def test_statements_are_prepared(connection):
    """
    A statement that is sent again and again is prepared, once.
    """
    for _ in range(5):
        assert [{"count": 0}] == connection.ask(PREPARED, {})

    assert [{"count": 1}] * 2 == [connection.ask(PREPARED, {})[0] for _ in range(2)]


def test_nothing_is_prepared_unless_wanted(postgresql):
    """
    With prepare=0 no statement is prepared.
    """
    with coatcheck.by_url(f"{postgresql.url}?prepare=0") as results:
        for number in range(10):
            results.store_result(f"t{number}", number)
        (lent,) = results.backend._link._pool._idle

        assert [{"count": 0}] * 10 == [lent.driver.ask(PREPARED, {})[0] for _ in range(10)]


async def test_errors(postgresql, connection):
    """
    What the server refuses is psycopg's error with the server's state, and the next one goes on.
    """
    right = Statement("SELECT 1 AS v", {"v": "integer"})
    wrong = Statement("SELECT 1 / CAST(:v AS integer) AS v")
    asynchronous = await AsyncConnection.connect(postgresql.url, autocommit=True)
    try:
        with pytest.raises(Exception, match="division") as refused:
            connection.ask(wrong, {"v": 0})
        with pytest.raises(type(refused.value), match="division"):
            await asynchronous.ask(wrong, {"v": 0})

        assert "22012" == refused.value.sqlstate
        assert [{"v": 1}] == connection.ask(right, {}) == await asynchronous.ask(right, {})
    finally:
        await asynchronous.close()


async def test_more_than_a_socket_takes(postgresql):
    """
    A value that does not go out in one piece arrives, while the server's answers are taken in.
    """
    large = "x" * 8_000_000
    with coatcheck.by_url(postgresql.url) as results:
        results.store_result("makes the tables", 1)
        assert results.store_result("sync", large)
        async with coatcheck.aio.by_url(postgresql.url) as aio_results:
            assert (await aio_results.get_result("sync")) == large
            assert await aio_results.store_result("aio", large)
        assert large == results.get_result("aio")


def test_a_database_in_another_encoding(postgresql):
    """
    Text is sent and read in the encoding of the connection.
    """
    postgresql.execute(
        "CREATE DATABASE latin ENCODING LATIN1 TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    try:
        with coatcheck.by_url(postgresql.url.replace("/app", "/latin")) as results:
            results.store_many({"first": 1, "Öl": 2})
            results.store_result("Ärger", 3, name="Über")

            assert ("Ärger", "Über") == (results.get_task_meta("Ärger").task_id, _name(results))
            assert {"Öl": 2, "Ärger": 3} == {
                id_: meta.result for id_, meta in results.get_many(["Öl", "Ärger"]).items()
            }
    finally:
        postgresql.execute("DROP DATABASE latin")


def _name(results):
    return results.get_task_meta("Ärger").name


async def test_a_cancelled_store_keeps_its_connection(aio_results, postgresql):
    """
    Who is cancelled goes at once; the answer is taken in, and the connection is used again.
    """
    for _ in range(2):
        await aio_results.update_state("t", "STARTED", None)
    link = aio_results.backend._links.get()
    (warm,) = link._warm
    waiting = "SELECT 1 FROM pg_locks WHERE NOT granted"
    with postgresql.connect() as other, other.transaction():
        other.execute("SELECT 1 FROM celery_taskmeta WHERE task_id = 't' FOR UPDATE")
        storing = asyncio.create_task(aio_results.store_result("t", 1))
        await asyncio.to_thread(until, lambda: postgresql.execute(waiting))
        storing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await storing
        assert [] == link._warm
    while link._apart._left:
        await asyncio.sleep(0.01)

    assert [warm] == link._warm
    assert 1 == await aio_results.get_result("t")
