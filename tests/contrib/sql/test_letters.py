"""
Databases that lack characters, and rows with what nobody expects in them.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest

import coatcheck
import coatcheck.aio
from coatcheck.plugin import Query
from coatcheck.testing.threads import Started
from coatcheck_sql.letters import BASIC, Letters, key_of

TEXT = "caf\u00e9 \u20ac \u6f22 \U0001f4a5"
#: Ways to make a database that lacks some of these characters.
POSTGRESQL = {
    "latin1": "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
    "win1251": "ENCODING 'WIN1251' LC_COLLATE 'C' LC_CTYPE 'C'",
    "euc_jp": "ENCODING 'EUC_JP' LC_COLLATE 'C' LC_CTYPE 'C'",
    "ascii": "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'",
}
MARIADB = {"latin1": "latin1", "utf8mb3": "utf8mb3", "koi8r": "koi8r"}


@pytest.fixture(params=POSTGRESQL)
def lacking(request, postgresql):
    """The URL of a database of PostgreSQL's in another encoding."""
    postgresql.execute("DROP DATABASE IF EXISTS lacking", database="postgres")
    options = POSTGRESQL[request.param]
    postgresql.execute(f"CREATE DATABASE lacking TEMPLATE template0 {options}", database="postgres")
    yield postgresql.url.replace("/app", "/lacking")
    postgresql.execute("DROP DATABASE lacking WITH (FORCE)", database="postgres")


@pytest.fixture(params=MARIADB)
def old_mariadb(request, mariadb):
    """A MariaDB with Celery's table in an old character set, which does not mind what it loses."""
    letters = MARIADB[request.param]
    mariadb.execute(f"ALTER DATABASE app CHARACTER SET {letters}")
    mariadb.execute("SET GLOBAL sql_mode = ''")
    yield mariadb
    mariadb.execute("SET GLOBAL sql_mode = DEFAULT")


CELERYS = (
    "CREATE TABLE celery_taskmeta (id BIGINT PRIMARY KEY AUTO_INCREMENT, "
    "task_id VARCHAR(155) UNIQUE, status VARCHAR(50), result LONGBLOB, date_done DATETIME, "
    "traceback TEXT, name VARCHAR(155), args LONGBLOB, kwargs LONGBLOB, worker VARCHAR(155), "
    "retries INTEGER, queue VARCHAR(155))"
)


def keeps_text(results):
    """Store, read, wait for and forget what has such text everywhere."""
    fields = {"name": TEXT, "worker": TEXT, "queue": TEXT, "args": [TEXT], "kwargs": {TEXT: TEXT}}
    with pytest.raises(ValueError, match="boom"), results.running(TEXT, **fields):
        raise ValueError(f"boom {TEXT}")
    results.store_many({f"{TEXT}{n}": TEXT for n in range(3)})
    meta = results.get_task_meta(TEXT)
    assert fields == {name: getattr(meta, name) for name in fields}
    assert TEXT in meta.traceback
    with pytest.raises(ValueError, match=TEXT):
        results.AsyncResult(TEXT).get(timeout=5)
    assert dict.fromkeys([f"{TEXT}{n}" for n in range(3)], TEXT) == {
        id_: found.result
        for id_, found in results.get_many([f"{TEXT}{n}" for n in range(3)]).items()
    }
    assert {TEXT, *(f"{TEXT}{n}" for n in range(3))} == set(results.backend.scan())
    assert results.expect(f"{TEXT}new")
    results.backend.put_group(TEXT, [TEXT, "t"], expires=None)
    assert [TEXT, "t"] == results.backend.get_group(TEXT)
    assert results.forget(TEXT)
    assert not results.exists(TEXT)


def is_woken(url):
    """Whether a wait for such an id is woken."""
    with coatcheck.by_url(url, safety_look=600.0) as results:
        waiting = Started(results.wait_for, f"{TEXT}late", 60)
        with coatcheck.by_url(url) as others:
            others.store_result(f"{TEXT}late", TEXT)
        return waiting.answer().result == TEXT


def test_postgresql(lacking):
    """
    What a database has no characters for is stored all the same, under any id.
    """
    for url in (lacking, f"{lacking}?client_encoding=utf8"):
        with coatcheck.by_url(url) as results:
            keeps_text(results)
            results.backend.delete_many([*results.backend.scan()])
        assert is_woken(url)
        with coatcheck.by_url(url) as results:
            results.forget(f"{TEXT}late")


async def test_postgresql_under_asyncio(lacking):
    """
    The same for the side for asyncio.
    """
    async with coatcheck.aio.by_url(lacking, safety_look=600.0) as results:
        waiting = asyncio.create_task(results.wait_for(TEXT, timeout=60))
        await asyncio.sleep(0.1)
        async with coatcheck.aio.by_url(lacking) as others:
            assert await others.store_result(TEXT, TEXT, name=TEXT, traceback=TEXT)

        meta = await waiting
        assert [TEXT] * 3 == [meta.result, meta.name, meta.traceback]
        assert [TEXT] == [id_ async for id_ in results.backend.scan()]
        await results.backend.put_group(TEXT, [TEXT], expires=None)
        assert [TEXT] == await results.backend.get_group(TEXT)


@pytest.mark.parametrize("made_by", ["us", "celery"])
def test_mariadb(old_mariadb, made_by):
    """
    So it is with tables in an old character set, and a server that would put question marks.
    """
    if made_by == "celery":
        old_mariadb.execute(CELERYS)
    for url in (old_mariadb.url, f"{old_mariadb.url}?charset=latin1"):
        with coatcheck.by_url(url) as results:
            keeps_text(results)
            results.backend.delete_many([*results.backend.scan()])
    found = old_mariadb.execute(
        "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = 'app' "
        "AND table_name LIKE 'celery%' AND character_set_name <> 'utf8mb4'"
    )
    assert (made_by == "us") == (found[0][0] == 0)


def test_celery_reads_escapes(lacking, postgresql):
    """
    In the columns that Celery reads the missing characters are escaped.
    """
    with coatcheck.by_url(lacking) as results:
        results.store_result("t", ValueError("x"), "FAILURE", traceback="a\0\U0001f4a5")
    ((stored,),) = postgresql.execute(
        "SELECT convert_to(traceback, 'SQL_ASCII') FROM celery_taskmeta", database="lacking"
    )

    assert bytes(stored) in (b"a\\x00\\U0001f4a5", b"a\\x00\xf0\x9f\x92\xa5")


def test_a_state_that_the_database_lacks(lacking):
    """
    A state is compared by the database, so one that it has no characters for is refused.
    """
    with coatcheck.by_url(lacking) as results:
        try:
            results.update_state("t", "\u0391\u0411\u00c4", None)
        except coatcheck.EncodeError as error:
            assert "state" in str(error) or "status" in str(error)
        else:
            assert results.get_state("t") == "\u0391\u0411\u00c4"


@pytest.mark.parametrize(
    ("letters", "held", "escaped"),
    [
        (Letters(), TEXT, TEXT),
        (Letters("latin-1"), "caf\u00e9", "caf\u00e9 \\u20ac \\u6f22 \\U0001f4a5"),
        (Letters(BASIC), "caf\u00e9 \u20ac \u6f22", "caf\u00e9 \u20ac \u6f22 \\U0001f4a5"),
        (Letters("ascii"), "cafe", "caf\\xe9 \\u20ac \\u6f22 \\U0001f4a5"),
    ],
)
def test_letters(letters, held, escaped):
    """
    What can be stored is, and ids of it are their own keys.
    """
    assert letters.holds(held)
    assert held == letters.escaped(held) == key_of(held, letters)
    assert escaped == letters.escaped(TEXT)
    assert (escaped == TEXT) == letters.holds(TEXT) == (key_of(TEXT, letters) == TEXT)
    assert not letters.holds("\0")
    assert not letters.holds("\udc80")
    assert "\\x00\\udc80" == letters.escaped("\0\udc80")


def others_are_read(results):
    """Read the good record, whatever else there is, in each way."""
    found = results.get_many(["good", "bad"])
    assert 1 == found["good"].result
    assert 1 == results.AsyncResult("good").get(timeout=5)
    assert "good" in set(results.backend.scan())
    assert "good" in set(results.backend.find(Query(state="SUCCESS")))
    return found["bad"]


#: What is planted into PostgreSQL's row.
ROWS = {
    "no UTF-8": "name = convert_from('\\xff'::bytea, 'SQL_ASCII'), traceback = chr(200)",
    "infinity": "date_done = 'infinity', done_at = '-infinity', date_started = 'infinity'",
    "late": "date_done = '20000-01-01', done_at = '20000-01-01', seal_date = '20000-01-01'",
    "nothing": "date_done = NULL, name = NULL, result = NULL, serializer = NULL",
    "no status": "status = NULL",
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("encoding", ["ascii", "latin1"])
def test_rows_in_postgresql(postgresql, row, encoding):
    """
    A row with bytes that are no characters, or dates that Python has not, breaks no read of others.
    """
    postgresql.execute("DROP DATABASE IF EXISTS odd", database="postgres")
    options = POSTGRESQL[encoding]
    postgresql.execute(f"CREATE DATABASE odd TEMPLATE template0 {options}", database="postgres")
    url = postgresql.url.replace("/app", "/odd?client_encoding=utf8")
    with coatcheck.by_url(url) as results:
        results.store_many({"good": 1, "bad": 2})
        change = f"UPDATE celery_taskmeta SET {ROWS[row]} WHERE task_id = 'bad'"
        with postgresql.connect("odd") as connection:
            connection.execute(change.encode())
        others_are_read(results)
    with coatcheck.by_url(url) as fresh:
        others_are_read(fresh)
    postgresql.execute("DROP DATABASE odd WITH (FORCE)", database="postgres")


#: What is planted into SQLite's row, and what the value is then.
CELLS = {
    "text": ("result = '7', name = 5, worker = x'ff', traceback = 1.5", 7),
    "number": ("result = 7, retries = 'many', v = 'new'", 7),
    "no JSON": ("result = 'text'", coatcheck.DecodeError),
    "no UTF-8": ("name = CAST(x'ff' AS TEXT), traceback = CAST(x'ff' AS TEXT)", 2),
    "dates": ("date_done = 5, done_at = x'00', date_started = 'soon'", 2),
    "no status": ("status = NULL", None),
    "status": ("status = x'ff'", None),
    "blob as key": ("task_id = x'ff'", None),
    "key that is no UTF-8": ("task_id = CAST(x'ff' AS TEXT)", None),
    "serializer": ("serializer = 5", coatcheck.SerializationError),
}


@pytest.mark.parametrize("cells", CELLS)
def test_rows_in_sqlite(sqlite, cells):
    """
    A row with values of other types, which SQLite takes, breaks no read of others.
    """
    change, value = CELLS[cells]
    with coatcheck.by_url(sqlite.url) as results:
        results.store_many({"good": 1, "bad": 2})
        results.get_result("good")
        with closing(sqlite3.connect(sqlite.path, isolation_level=None)) as connection:
            connection.execute(f"UPDATE celery_taskmeta SET {change} WHERE task_id = 'bad'")
            connection.execute(
                "UPDATE celery_taskmeta SET seal_date = date_done, seal_status = status"
            )
        for _ in range(2):
            found = others_are_read(results) if "key" not in cells else None
        if found is None:
            assert {"good"} == set(results.backend.scan())
            assert 1 == results.get_many(["good", "bad"])["good"].result
            assert not results.exists("bad")
            return
        if isinstance(value, type):
            with pytest.raises(value):
                _ = found.result
        elif value is not None:
            assert value == found.result
        for name in ("name", "worker", "traceback"):
            assert isinstance(getattr(found, name), str | None)
