"""
What is in the tables, and what the database decides.
"""

from __future__ import annotations

import pickle
from fractions import Fraction
from functools import partial

import pytest

import coatcheck
from coatcheck.plugin import Query
from coatcheck.testing.threads import in_threads

IDS = ["x" * 156, "with\0nul", "~sha256:looks like a hash", "Ärger", "trailing "]


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def database(request):
    """Each database, empty."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def client(database):
    """Synchronous results in it."""
    with coatcheck.by_url(database.url) as results:
        yield results


def rows(database, columns, table="celery_taskmeta"):
    """Return columns of all rows, past coatcheck."""
    return database.execute(f"SELECT {columns} FROM {table} ORDER BY id")


def test_celerys_columns(client, database):
    """
    A record stands in Celery's columns as Celery 5.7 writes it.
    """
    client.store_result("t", [1, "two"], name="app.add", args=[1], retries=2, worker="w@h")
    (row,) = rows(database, "task_id, status, result, traceback, children, name, retries, worker")

    assert ("t", "SUCCESS", b'[1, "two"]', None, None, "app.add", 2, "w@h") == tuple(
        bytes(v) if isinstance(v, memoryview) else v for v in row
    )


def test_what_does_not_fit_is_kept(client):
    """
    Text that is too long for its column or has a NUL comes back; so do keys without a column.
    """
    started = coatcheck.states.STARTED
    client.update_state("t", started, "a\0b", name="n" * 200, queue="a\0b", retries=2**40)
    meta = client.get_task_meta("t")

    assert ("a\0b", "n" * 200, "a\0b", 2**40) == (meta.result, meta.name, meta.queue, meta.retries)


@pytest.mark.parametrize("task_id", IDS)
def test_odd_ids(client, task_id):
    """
    An id that the column cannot hold is found by itself, by a scan and by a wait.
    """
    client.store_result(task_id, 1)

    assert 1 == client.wait_for(task_id, 5).result
    assert [task_id] == [meta.task_id for meta in client.scan()]


def test_celery_wrote_over_ours(client, database):
    """
    Where Celery replaced a record our columns no longer count: neither the failure nor the life.
    """
    client.mark_as_retry("t", ValueError("first"), expires=0.3)
    blob = "CAST('5' AS BLOB)" if "sqlite" in database.url else "'5'"
    database.execute(
        f"UPDATE celery_taskmeta SET status = 'SUCCESS', result = {blob}, "
        "date_done = '2026-11-05 12:00:00' WHERE task_id = 't'"
    )
    with coatcheck.by_url("memory://") as clock:  # whose records expire later than ours would
        clock.store_result("later", 1, expires=0.5)
        while clock.exists("later"):
            pass
    meta = client.get_task_meta("t")

    assert ("SUCCESS", 5, None) == (meta.status, meta.result, meta.failure)
    assert "2026-11-05T12:00:00+00:00" == meta.date_done.isoformat()
    assert 0 == client.purge()
    assert not client.store_result("t", "late")


def test_rows_are_numbered_once(client, database):
    """
    Writes over a record take no further number: Celery's column has no more than 31 bits.
    """
    for state in ("STARTED", "PROGRESS", "RETRY"):
        client.update_state("t", state, None)
    client.store_result("t", 1)
    client.store_result("u", 1)

    numbers = [row[0] for row in rows(database, "id")]
    assert numbers[0] + (1 if database.url.startswith("postgresql") else 0) <= numbers[1]
    if database.url.startswith("postgresql"):
        assert [1, 2] == numbers


def test_pickles_are_plain_data(client, database):
    """
    A value that a Celery up to 5.6 pickled is read, and one that names a class is not.
    """
    client.expect("makes the tables")
    for task_id, value in {"plain": {"a": (1, 2)}, "class": Fraction(1, 2)}.items():
        data = pickle.dumps(value, 5)
        client.update_state(task_id, "STARTED", None)
        marks = ("?", "?") if "sqlite" in database.url else ("%s", "%s")
        database.execute(
            f"UPDATE celery_taskmeta SET status = 'SUCCESS', result = {marks[0]} "
            f"WHERE task_id = {marks[1]}",
            [data, task_id],
        )

    assert {"a": (1, 2)} == client.get_result("plain")
    assert isinstance(client.get_task_meta("class").error, coatcheck.ContentDisallowed)
    assert "SUCCESS" == client.get_state("class")


def test_batches_do_not_wait_for_each_other(client):
    """
    Batches of the same ids in any order are stored at once, each id once.
    """
    ids = [f"t{n}" for n in range(200)]
    orders = [ids, ids[::-1], ids[50:] + ids[:50], ids[::2] + ids[1::2]]
    won = in_threads(
        partial(client.store_many, dict.fromkeys(order, n)) for n, order in enumerate(orders)
    )

    assert [1] * len(ids) == [sum(answer[id_] for answer in won) for id_ in ids]


def test_the_same_id_twice_in_a_batch(client):
    """
    Of two records for one id in a batch the first one is the record.
    """
    metas = [client.backend.codec.written({**_document("t"), "result": n}) for n in (1, 2)]
    ready = frozenset({"SUCCESS"})
    put_many = client.backend.put_many

    assert [True, False] == put_many([("t", m) for m in metas], unless=ready, expires=60)
    assert 1 == client.get_result("t")


def _document(task_id):
    from coatcheck._record.documents import new_document

    return new_document(task_id, "SUCCESS", None, expires=60)


def test_scan_by_state(client):
    """
    A scan for a state reads the records in it alone, and not those that have expired.
    """
    client.store_many({f"t{n}": n for n in range(3)})
    client.mark_as_failure("failed", ValueError())
    client.mark_as_failure("gone", ValueError(), expires=0.2)
    while client.exists("gone"):
        pass

    assert ["failed"] == [*client.backend.find(Query(state="FAILURE"))]
    assert [] == [*client.backend.find(Query("t", "FAILURE"))]
    assert ["t0", "t1", "t2"] == sorted(client.backend.find(Query("t", "SUCCESS")))
    assert ["failed"] == [meta.task_id for meta in client.scan(state="FAILURE")]


async def test_scan_by_state_under_asyncio(aio_results):
    """
    The same for the side for asyncio.
    """
    await aio_results.store_result("t", 1)
    await aio_results.mark_as_failure("failed", ValueError())

    assert ["failed"] == [id_ async for id_ in aio_results.backend.find(Query(state="FAILURE"))]


def test_expired_rows_are_neither_read_nor_purged_twice(client, database):
    """
    A row that has expired is there until a purge, and nothing reads it: alone, in a batch or a scan.
    """
    client.store_result("gone", 1, expires=0.2)
    client.store_result("kept", 1)
    client.ResultSet(["kept"]).save("group", expires=0.2)
    while client.exists("gone") or client.backend.get_group("group"):
        pass

    assert ["gone", "kept"] == [row[0] for row in rows(database, "task_id")]
    assert {"kept"} == set(client.backend.get_many(["gone", "kept"]))
    assert ["kept"] == [meta.task_id for meta in client.scan()]
    assert not client.forget("gone")
    assert 2 == client.purge()
    assert ["kept"] == [row[0] for row in rows(database, "task_id")]
    assert 0 == client.purge()


def test_a_purge_does_not_hold_writers_off(postgresql, results):
    """
    While thousands of rows are purged, chunk by chunk, others store: none waits for the purge.
    """
    results.expect("makes the tables")
    postgresql.execute(
        "INSERT INTO celery_taskmeta (id, task_id, status, seal_status, expires_at) "
        "SELECT n + 1000, 'old' || n, 'SUCCESS', 'SUCCESS', now() - interval '1 day' "
        "FROM generate_series(1, 5000) AS n"
    )
    table = results.backend._link.known.layout.tasks
    with postgresql.connect() as purging, purging.transaction():
        removed = purging.execute(table.statement("purge").text).rowcount
        assert results.store_result("new", 1)
        assert results.store_result("old5000", 2)
        waited = postgresql.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")

    assert (1000, [(0,)]) == (removed, waited)
    assert 3999 == results.purge()


def test_purge_passes_over_rows_in_use(results, postgresql):
    """
    A purge waits for nobody who writes to an expired row.
    """
    results.store_result("used", 1, expires=0.2)
    results.store_result("gone", 1, expires=0.2)
    while results.exists("used") or results.exists("gone"):
        pass
    with postgresql.connect() as writer, writer.transaction():
        writer.execute("SELECT 1 FROM celery_taskmeta WHERE task_id = 'used' FOR UPDATE")
        assert 1 == results.purge()

    assert 1 == results.purge()


def test_large_results_in_celerys_table(mariadb):
    """
    Where Celery's column holds 64 kB a larger result is a failure that names the limit.
    """
    mariadb.execute(
        "CREATE TABLE celery_taskmeta (id INTEGER AUTO_INCREMENT PRIMARY KEY, "
        "task_id VARCHAR(155) UNIQUE, status VARCHAR(50), result BLOB, date_done DATETIME, "
        "traceback TEXT, name VARCHAR(155), args BLOB, kwargs BLOB, worker VARCHAR(155), "
        "retries INTEGER, queue VARCHAR(155))"
    )
    with coatcheck.by_url(mariadb.url) as results:
        assert results.store_result("CaSe", 1)
        assert results.store_result("case", 2)
        with pytest.raises(coatcheck.ResultTooLargeError, match="65535"):
            results.store_result("t", "x" * 70_000)

        assert [1, 2] == [results.get_result(id_) for id_ in ("CaSe", "case")]
        assert results.get_task_meta("case").date_done is not None
        assert "FAILURE" == results.get_state("t")
