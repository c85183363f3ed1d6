"""
The tables: made, completed, or refused with what to do.
"""

from __future__ import annotations

import logging

import pytest

import coatcheck
from coatcheck.testing.child import children

#: As Celery 5.4 makes it, in words that all databases know.
OLD = (
    "CREATE TABLE celery_taskmeta (id {id} PRIMARY KEY, task_id VARCHAR(155) UNIQUE, "
    "status VARCHAR(50), result {blob}, date_done {date}, traceback TEXT, name VARCHAR(155), "
    "args {blob}, kwargs {blob}, worker VARCHAR(155), retries INTEGER, queue VARCHAR(155))"
)
WORDS = {
    "postgresql": {"id": "INTEGER", "blob": "BYTEA", "date": "TIMESTAMP"},
    "mariadb": {"id": "INTEGER AUTO_INCREMENT", "blob": "BLOB", "date": "DATETIME"},
    "sqlite": {"id": "INTEGER", "blob": "BLOB", "date": "DATETIME"},
}
PUT = (
    "INSERT INTO celery_taskmeta (id, task_id, status, result, date_done) "
    "VALUES (1, 'old', 'SUCCESS', {seven}, '2026-11-05 12:00:00')"
)


@pytest.fixture(params=list(WORDS))
def database(request):
    """Each database, empty."""
    database = request.getfixturevalue(request.param)
    database.words = WORDS[request.param]
    return database


def old_table(database):
    """Make what a Celery up to 5.4 left, with one record."""
    database.execute(OLD.format(**database.words))
    if database.words["id"] == "INTEGER" and database.words["blob"] == "BYTEA":
        database.execute("CREATE SEQUENCE task_id_sequence START 2")
    sqlite = "sqlite" in database.url
    database.execute(PUT.format(seven="CAST('7' AS BLOB)" if sqlite else "'7'"))


def columns(database):
    """Return the names of the columns of the table of tasks."""
    if "sqlite" in database.url:
        return {row[1] for row in database.execute('PRAGMA table_info("celery_taskmeta")')}
    query = (
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'celery_taskmeta'"
    )
    return {row[0] for row in database.execute(query)}


def test_reads_alter_nothing(database):
    """
    A reader takes Celery's old table as it is, and no table for no record.
    """
    with coatcheck.by_url(database.url, read_only=True) as results:
        assert not results.exists("old")
        assert [] == list(results.scan())
        old_table(database)

        assert 7 == results.get_result("old")
        assert ["old"] == [meta.task_id for meta in results.scan()]
    assert "expires_at" not in columns(database)


def test_old_tables_are_completed(database):
    """
    The first store adds the columns, and leaves the records; a reader that was there before sees both.
    """
    old_table(database)
    with (
        coatcheck.by_url(database.url, read_only=True) as reader,
        coatcheck.by_url(database.url) as results,
    ):
        assert 7 == reader.get_result("old")
        assert not results.store_result("old", "late")
        assert results.store_result("new", {"a": 1}, expires=60)

        assert [7, {"a": 1}] == [results.get_result(id_) for id_ in ("old", "new")]
        assert {"a": 1} == reader.get_result("new")
    assert {"expires_at", "children", "stamps", "write_id"} <= columns(database)


def test_many_processes_start_at_once(database):
    """
    Of many processes that meet an old table one completes it, and all store.
    """
    old_table(database)
    jobs = [("store", (database.url, f"t{n}", n)) for n in range(6)]
    with children(jobs) as started:
        for child in started:
            child.go()
        assert [True] * 6 == [child.answer() for child in started]

    with coatcheck.by_url(database.url) as results:
        assert 7 == len(list(results.scan()))


REFUSED = {
    "no unique id": (("CREATE TABLE celery_taskmeta (id INTEGER, task_id VARCHAR(155), "
                     "status VARCHAR(50), result {blob}, date_done {date})"), "ADD UNIQUE"),
    "another table": ("CREATE TABLE celery_taskmeta (number INTEGER)", "not one of Celery's"),
    "another type": (("CREATE TABLE celery_taskmeta (id INTEGER, task_id VARCHAR(155) UNIQUE, "
                     "status VARCHAR(50), result {blob}, date_done {date}, expires_at INTEGER)"),
                     "expires_at"),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_left_alone(database, why):
    """
    A table that cannot be completed is refused with what to do, and not touched.
    """
    statement, hint = REFUSED[why]
    database.execute(statement.format(**database.words))
    before = columns(database)
    with (
        coatcheck.by_url(database.url) as results,
        pytest.raises(coatcheck.BackendError, match=hint),
    ):
        results.store_result("t", 1)

    assert before == columns(database)


def test_migrate_can_be_forbidden(database):
    """
    With migrate=0 the error has the statements, and a store works when they were executed.
    """
    old_table(database)
    with coatcheck.by_url(database.url, migrate=False) as results:
        with pytest.raises(coatcheck.BackendStoreError, match="by hand") as caught:
            results.store_result("t", 1)
        assert "expires_at" not in columns(database)
        for statement in str(caught.value).partition("by hand: ")[2].split("; "):
            database.execute(statement)

        assert results.store_result("t", 1)


def test_newer_tables_are_not_written(database):
    """
    Tables of a newer version are read, and not written.
    """
    with coatcheck.by_url(database.url) as results:
        results.store_result("t", 1)
    database.execute("UPDATE coatcheck_versions SET version = 99")
    with coatcheck.by_url(database.url) as results:
        assert 1 == results.get_result("t")
        with pytest.raises(coatcheck.BackendStoreError, match="upgrade"):
            results.store_result("u", 1)


def test_tables_that_vanish_are_made_again(database):
    """
    Who drops the tables finds an empty store.
    """
    with coatcheck.by_url(database.url) as results:
        results.store_result("t", 1)
        for table in ("celery_taskmeta", "celery_tasksetmeta", "coatcheck_versions"):
            database.execute(f"DROP TABLE {table}")

        assert not results.exists("t")
        assert results.store_result("t", 2)
        assert 2 == results.get_result("t")


def test_a_user_without_the_right(postgresql):
    """
    Who may not alter the tables is told what somebody else has to do.
    """
    postgresql.words = WORDS["postgresql"]
    old_table(postgresql)
    postgresql.execute(
        "DROP ROLE IF EXISTS writer; CREATE ROLE writer LOGIN; "
        "GRANT SELECT, INSERT, UPDATE ON celery_taskmeta TO writer"
    )
    url = postgresql.url.replace("postgres@", "writer@")
    with coatcheck.by_url(url) as results:
        assert 7 == results.get_result("old")
        with pytest.raises(coatcheck.BackendStoreError, match="ALTER TABLE"):
            results.store_result("t", 1)
    postgresql.execute("DROP OWNED BY writer; DROP ROLE writer")


def test_large_tables_get_no_index(postgresql, caplog):
    """
    A table with many rows gets the columns, and the statement for the index is logged.
    """
    postgresql.words = WORDS["postgresql"]
    old_table(postgresql)
    (
        postgresql.execute("UPDATE celery_taskmeta SET id = 5"),
        postgresql.execute("INSERT INTO celery_taskmeta (id, task_id) VALUES (900000, 'far')"),
    )
    with caplog.at_level(logging.WARNING, "coatcheck"), coatcheck.by_url(postgresql.url) as results:
        results.store_result("t", 1)

    assert "CREATE INDEX ix_celery_taskmeta_expires_at" in caplog.text
    assert results.get_result("t") == 1
