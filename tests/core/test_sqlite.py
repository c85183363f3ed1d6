"""
`sqlite:///path`: records in a file, shared by processes, whatever happens to the file.
"""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import coatcheck
from coatcheck._backends.backend import ANY, Capability
from coatcheck._backends.query import Query
from coatcheck._embedded import sqlite, sqlite_connections
from coatcheck._embedded.sqlite import SQLiteBackend
from coatcheck._settings.url import URL
from coatcheck.errors import (
    BackendError,
    BackendStoreError,
    BackendUnavailableError,
    ConfigurationError,
    DecodeError,
    WaitTimeoutError,
)
from coatcheck.states import READY_STATES
from coatcheck.testing.forking import on_both_sides

UNREADY = b'{"status": "STARTED"}'
READY = b'{"status": "SUCCESS", "result": 1}'
OTHER = b'{"status": "SUCCESS", "result": 2}'


@pytest.fixture
def path(tmp_path):
    """
    Where the file is to be.
    """
    return tmp_path / "results.db"


@pytest.fixture
def opened():
    """
    Return a function that makes backends, which are closed in the end.
    """
    with contextlib.ExitStack() as stack:

        def make(path, **options):
            backend = SQLiteBackend(path, **options)
            stack.callback(backend.close)
            return backend

        yield make


@pytest.fixture
def backend(path, opened):
    """
    A backend with a file of its own.
    """
    return opened(path, operation_timeout=30)


@pytest.fixture
def clock(monkeypatch):
    """
    The backend's clock, which stands still.
    """
    now = SimpleNamespace(value=1e9)
    monkeypatch.setattr(sqlite, "wall", lambda: now.value)
    return now


@pytest.fixture
def foreign(path):
    """
    A connection of another program to the file.
    """
    options = {"isolation_level": None, "check_same_thread": False}
    with contextlib.closing(sqlite3.connect(path, **options)) as connection:
        yield connection


def put(backend, key, value, **options):
    """
    Store *value* over whatever is not ready.
    """
    return backend.put(key, value, **{"unless": READY_STATES, "expires": None, **options})


# -- storage --------------------------------------------------------------------------------


def test_the_first_ready_record_stays(backend):
    """
    An unready record is replaced, a ready one is not, and its own repetition is no loss.
    """
    assert [True, True, True, False, False, True] == [
        put(backend, "k", value) for value in (UNREADY, UNREADY, READY, OTHER, UNREADY, READY)
    ]
    assert {"k": READY} == backend.get_many(["k", "absent"])


def test_only_if_nothing_is_there(backend):
    """
    With ANY a record is written only where there is none.
    """
    assert [True, True, False] == [
        put(backend, "k", value, unless=ANY) for value in (UNREADY, UNREADY, READY)
    ]


def test_only_over_exactly_that(backend):
    """
    With `if_match` a record is written over exactly that one, ready or not.
    """
    assert put(backend, "k", READY, if_match=UNREADY) is False
    put(backend, "k", UNREADY)

    assert put(backend, "k", READY, if_match=b"other") is False
    assert put(backend, "k", READY, if_match=UNREADY) is True
    assert put(backend, "k", READY, if_match=UNREADY) is True
    assert put(backend, "k", OTHER, if_match=READY) is True


@pytest.mark.parametrize("value", [b"garbage", b"", b"\xc1COAT"])
def test_what_cannot_be_read_is_not_protected(backend, value):
    """
    A record without a readable state is replaced.
    """
    put(backend, "k", value)

    assert put(backend, "k", UNREADY) is True


def test_foreign_key_order_is_protected(backend):
    """
    A ready record that shows its state late is protected too.
    """
    put(backend, "k", b'{"result": 1, "status": "SUCCESS"}')

    assert put(backend, "k", OTHER) is False


def test_looser_protection(backend):
    """
    Only the states that are named are protected.
    """
    put(backend, "k", b'{"status": "FAILURE"}')

    assert put(backend, "k", READY, unless=frozenset({"SUCCESS"})) is True
    assert put(backend, "k", OTHER, unless=frozenset({"SUCCESS"})) is False
    assert put(backend, "k", OTHER, unless=frozenset()) is True


def test_batches_are_stored_in_order(backend):
    """
    Of a batch each record is told whether it is the one, repeated keys included.
    """
    put(backend, "b", READY)
    items = [("a", UNREADY), ("b", OTHER), ("a", READY), ("a", OTHER), ("c", READY), ("b", READY)]

    won = backend.put_many(items, unless=READY_STATES, expires=None)

    assert [True, False, True, False, True, True] == won
    assert {"a": READY, "b": READY, "c": READY} == backend.get_many(["a", "b", "c"])


def test_a_batch_is_stored_whole_or_not_at_all(backend):
    """
    A batch that fails in the middle leaves nothing behind, and the backend goes on.
    """
    with pytest.raises(UnicodeEncodeError):
        backend.put_many([("a", READY), ("\udcff", READY)], unless=ANY, expires=None)

    assert {} == backend.get_many(["a"])
    assert put(backend, "a", READY) is True


@pytest.mark.parametrize("key", ["k", "a b", "ü🧥", "a\x00b", "%_'\";--", "x" * 10_000, "\n"])
def test_keys_of_any_shape(backend, key):
    """
    A key comes back as it is, from reads and scans.
    """
    put(backend, key, READY)

    assert {key: READY} == backend.get_many([key])
    assert [key] == [*backend.scan()] == [*backend.scan(key)] == [*backend.scan(key[:1])]
    assert 1 == backend.delete_many([key])


def test_many_keys_at_once(backend):
    """
    More keys than one statement takes are stored, read, scanned and deleted.
    """
    items = [(f"k{number}", b"%d" % number) for number in range(3500)]

    assert [True] * 3500 == backend.put_many(items, unless=ANY, expires=None)
    assert dict(items) == backend.get_many([key for key, _ in items])
    assert sorted(dict(items)) == [*backend.scan()]
    assert 3500 == backend.delete_many([key for key, _ in items])


def test_scanning_by_prefix(backend):
    """
    The keys that start with the prefix are found, the prefix itself too, and no others.
    """
    for key in ("a", "ab", "a%", "a_c", "a\x00", "b", "A", "aü"):
        put(backend, key, READY)

    assert ["a", "a\x00", "a%", "a_c", "ab", "aü"] == [*backend.scan("a")]
    assert ["a_c"] == [*backend.scan("a_")]
    assert ["a%"] == [*backend.scan("a%")]
    assert [] == [*backend.scan("zz")]


def test_scanning_by_state(backend):
    """
    Keys of records in another state are left out, unless it cannot be read; so are those up to a key.
    """
    for key, value in {"a": READY, "b": UNREADY, "c": OTHER, "odd": b"?"}.items():
        put(backend, key, value)

    assert ["a", "c", "odd"] == [*backend.find(Query(state="SUCCESS"))]
    assert ["a", "b", "c", "odd"] == [*backend.find(Query(state="PENDING"))]
    assert ["c", "odd"] == [*backend.find(Query(state="SUCCESS", after="a"))]
    assert ["c"] == [*backend.find(Query("c", after="a"))]
    assert [] == [*backend.find(Query("c", after="c"))]


def test_scanning_while_it_changes(backend):
    """
    Records that go during a scan, from its own thread, do not break it.
    """
    backend.put_many([(f"{n:05}", READY) for n in range(2500)], unless=ANY, expires=None)

    for key in backend.scan():
        backend.delete_many([key])

    assert [] == [*backend.scan()]


def test_expired_records_are_absent(backend, clock):
    """
    When its time is over a record is absent to reads, writes, deletes and scans; a write
    restarts it.
    """
    put(backend, "k", UNREADY, expires=10)
    clock.value += 9
    put(backend, "k", READY, expires=10)
    clock.value += 9.9
    assert {"k": READY} == backend.get_many(["k"])
    assert put(backend, "k", OTHER) is False

    clock.value += 0.2
    assert {} == backend.get_many(["k"])
    assert [] == [*backend.scan()]
    assert put(backend, "k", OTHER, if_match=READY) is False
    assert put(backend, "k", OTHER, unless=ANY, expires=1) is True
    clock.value += 1
    assert put(backend, "k", UNREADY, expires=1) is True
    clock.value += 1
    assert 0 == backend.delete_many(["k"])


def test_records_are_kept_without_an_expiry(backend, clock):
    """
    What has no end is there in a hundred years.
    """
    put(backend, "k", READY)
    clock.value += 100 * 365 * 86400

    assert {"k": READY} == backend.get_many(["k"])
    assert 0 == backend.purge()


def count(backend):
    """
    Return how many rows the file has, expired ones included.
    """
    with contextlib.closing(sqlite3.connect(backend._file.path)) as connection:
        return connection.execute("SELECT count(*) FROM coatcheck_records").fetchone()[0]


def test_purging_removes_what_is_expired(backend, clock):
    """
    Purging counts what it removed, in portions, and leaves the rest.
    """
    backend.put_many([(str(n), READY) for n in range(2500)], unless=ANY, expires=1)
    put(backend, "b", READY, expires=2)
    put(backend, "c", READY)
    clock.value += 1

    assert (2500, 0) == (backend.purge(), backend.purge())
    assert 2 == count(backend)


def test_writes_remove_what_is_expired(backend, clock):
    """
    Without any purge expired records do not pile up.
    """
    for number in range(5 * backend.SWEEP_EVERY):
        put(backend, str(number), READY, expires=1)
        clock.value += 0.1

    assert count(backend) <= 2 * backend.SWEEP_EVERY


@pytest.mark.parametrize("names", ["{:05}", "{:05.0f}-later", "aside-{}"])
def test_all_that_expired_is_found_in_the_end(backend, clock, names):
    """
    Many records that expired are gone after so few more writes, whatever their keys are like.
    """
    backend.put_many([(f"{n:05}", READY) for n in range(2000)], unless=ANY, expires=1)
    clock.value += 1

    for number in range(2000):
        put(backend, names.format(2000 + number), READY)

    assert 2000 == count(backend)


def test_batches_remove_what_is_expired(backend, clock):
    """
    Who writes many at once has as much removed as who writes one by one.
    """
    for first in range(0, 5000, 500):
        numbers = range(first, first + 500)
        backend.put_many([(str(n), READY) for n in numbers], unless=ANY, expires=1)
        clock.value += 1

    assert count(backend) <= 2000


def test_a_deletion_is_counted_once(backend):
    """
    Of threads that delete the same records at once each record is counted by one.
    """
    backend.put_many([(str(n), READY) for n in range(100)], unless=ANY, expires=None)
    start = threading.Barrier(4)
    counts = []

    def delete():
        start.wait()
        counts.extend(backend.delete_many([str(n)]) for n in range(100))

    run_threads(delete, 4)

    assert 100 == sum(counts)


# -- URLs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///results.db", "{cwd}/results.db"),
        ("sqlite:///sub/results.db", "{cwd}/sub/results.db"),
        ("sqlite:////tmp/results.db", "/tmp/results.db"),
        ("sqlite:///a%20b%3F.db", "{cwd}/a b?.db"),
        ("sqlite:///~/results.db", "{home}/results.db"),
    ],
)
def test_urls_name_files(url, expected, tmp_path, monkeypatch):
    """
    A URL names a file by a relative or an absolute path.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")

    backend = SQLiteBackend.from_url(URL(url))

    assert Path(expected.format(cwd=tmp_path, home="/home/somebody")) == backend._file.path


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///", "sqlite://results.db", "sqlite:///:memory:", "sqlite://h/x.db"],
)
def test_urls_without_a_file(url):
    """
    A URL that names no file is refused with how to write one.
    """
    with pytest.raises(ConfigurationError, match=r"names no file: write sqlite:///relative.db"):
        SQLiteBackend.from_url(URL(url))


def test_options_do_not_exist():
    """
    There is nothing to set but the timeout.
    """
    with pytest.raises(ConfigurationError, match="sqlite:// has no option 'mode'"):
        SQLiteBackend.from_url(URL("sqlite:///x.db?mode=ro"))
    assert 2.0 == SQLiteBackend.from_url(URL("sqlite:///x"), operation_timeout=2.0)._file._timeout


def test_making_a_backend_touches_nothing(path):
    """
    Nothing is opened, nor made, before the first operation.
    """
    SQLiteBackend(path / "sub" / "x.db").close()

    assert not path.exists()


def test_capabilities():
    """
    It expires, scans, is shared and keeps events, and does not push.
    """
    expected = Capability.TTL | Capability.SCAN | Capability.SHARED | Capability.EVENTS
    assert expected == SQLiteBackend.capabilities
    assert 10**9 == SQLiteBackend.max_value_bytes


# -- files ----------------------------------------------------------------------------------


def test_directories_are_made(tmp_path, opened):
    """
    The directories of a new file are made.
    """
    backend = opened(tmp_path / "a" / "b" / "x.db")

    assert put(backend, "k", READY) is True
    assert (tmp_path / "a" / "b" / "x.db").is_file()


def test_a_changed_working_directory_changes_nothing(tmp_path, opened, monkeypatch):
    """
    A relative path stays what it was when the backend was made.
    """
    monkeypatch.chdir(tmp_path)
    backend = opened("x.db")
    put(backend, "k", READY)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    backend.close()

    assert {"k": READY} == backend.get_many(["k"])


def test_a_closed_backend_opens_again(backend):
    """
    Closing is idempotent, and the next operation opens the file again.
    """
    put(backend, "k", READY)
    backend.close()
    backend.close()

    assert [] == backend._file.idle
    assert {"k": READY} == backend.get_many(["k"])


def test_closing_during_an_operation(backend, monkeypatch):
    """
    What an operation works with while the backend is closed is closed at its end.
    """
    closing = SimpleNamespace(state_of=lambda _: backend.close())
    monkeypatch.setattr(backend, "codec", closing)

    assert put(backend, "k", READY) is True
    assert [] == backend._file.idle
    assert {"k": READY} == backend.get_many(["k"])


def test_other_tables_are_left_alone(backend, foreign):
    """
    A file of another program is shared with it.
    """
    foreign.execute("CREATE TABLE theirs (x)")
    foreign.execute("INSERT INTO theirs VALUES (1)")

    put(backend, "k", READY)

    assert [(1,)] == foreign.execute("SELECT x FROM theirs").fetchall()


def test_a_table_of_another_shape_is_an_error(backend, foreign):
    """
    A table of our name that is not ours is named, and left alone.
    """
    foreign.execute("CREATE TABLE coatcheck_records (x)")

    with pytest.raises(BackendUnavailableError, match=r"results\.db: .*coatcheck_records") as info:
        put(backend, "k", READY)

    assert isinstance(info.value.__cause__, sqlite3.Error)
    assert [] == foreign.execute("SELECT x FROM coatcheck_records").fetchall()


@pytest.mark.parametrize(
    "content", [b"this is no database, but somebody's notes\n" * 200, b"x" * 100]
)
def test_what_is_no_database_is_left_alone(path, backend, content):
    """
    A file that is something else is an error on every operation, and not changed.
    """
    path.write_bytes(content)

    for operation in (
        lambda: put(backend, "k", READY),
        lambda: backend.get_many(["k"]),
        lambda: backend.delete_many(["k"]),
        lambda: [*backend.scan()],
        backend.purge,
    ):
        with pytest.raises(BackendUnavailableError, match=r"results\.db: file is not a database"):
            operation()
    assert content == path.read_bytes()


def test_a_damaged_file_is_an_error(path, backend):
    """
    A file with damaged pages is an error that names it, and what can be read stays readable.
    """
    backend.put_many([(f"{n:06}", b"x" * 500) for n in range(1000)], unless=ANY, expires=None)
    backend.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[len(data) // 4 : len(data) // 2] = b"\xff" * (len(data) // 2 - len(data) // 4)
    path.write_bytes(data)

    with pytest.raises(BackendUnavailableError, match=r"results\.db: .*(malformed|decode)"):
        for number in range(1000):
            backend.get_many([f"{number:06}"])

    readable = 0
    for number in range(1000):
        with contextlib.suppress(BackendError):
            readable += len(backend.get_many([f"{number:06}"]))
    assert readable > 100


def test_an_empty_file_is_a_new_one(path, backend):
    """
    A file of no bytes is taken for a database without records.
    """
    path.touch()

    assert {} == backend.get_many(["k"])


def test_a_directory_is_no_file(tmp_path, opened):
    """
    A path that is a directory is an error that names it.
    """
    with pytest.raises(BackendUnavailableError, match="unable to open database file"):
        put(opened(tmp_path), "k", READY)


def test_a_path_below_a_file(path, opened):
    """
    A path whose directory is a file is an error that names that.
    """
    path.write_text("a file")

    with pytest.raises(
        BackendUnavailableError, match=r"results\.db(/sub)?: (File exists|Not a dir)"
    ):
        put(opened(path / "sub" / "x.db"), "k", READY)


def test_a_path_that_cannot_be(opened):
    """
    Where no file can be made the error says so.
    """
    for unwritable in ("/proc/self/x.db", "/proc/nosuch/x.db", "/dev/null/x.db"):
        with pytest.raises(BackendUnavailableError, match=r"/(proc|dev)"):
            put(opened(unwritable), "k", READY)


def test_a_read_only_database_is_still_read(backend):
    """
    Where writing is refused reads go on, and the error of a write is the store's refusal.
    """
    put(backend, "k", READY)
    backend._file.idle[0].execute("PRAGMA query_only = 1")

    assert {"k": READY} == backend.get_many(["k"])
    with pytest.raises(BackendStoreError, match=r"results\.db: attempt to write a readonly"):
        put(backend, "x", READY)


def test_a_full_database_keeps_what_it_has(backend):
    """
    Where there is no room the write is refused, what is stored stays, and small ones go on.
    """
    put(backend, "k", READY)
    pages = backend._file.idle[0].execute("PRAGMA page_count").fetchone()[0]
    backend._file.idle[0].execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(BackendStoreError, match=r"results\.db: database or disk is full"):
        put(backend, "big", b"x" * 1_000_000)

    assert {"k": READY} == backend.get_many(["k", "big"])
    assert put(backend, "small", READY) is True


FULL_DISK = """
import resource, sys
from coatcheck._embedded.sqlite import SQLiteBackend
from coatcheck.errors import BackendError
backend = SQLiteBackend(sys.argv[1])
put = lambda key, size: backend.put(key, b"x" * size, unless=frozenset(), expires=None)
put("before", 10)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    put("big", 1_000_000)
except BackendError as error:
    print(type(error).__name__, "|", error)
print(sorted(backend.scan()), put("after", 10), sorted(backend.scan()))
"""


def test_a_full_disk_keeps_what_it_has(path):
    """
    Where the system refuses to let the file grow, what is stored stays and small writes go on.
    """
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path], check=True, stdout=subprocess.PIPE, text=True
    )

    error, after = done.stdout.splitlines()
    assert error.startswith("Backend")
    assert "results.db: d" in error  # disk I/O error, or database or disk is full
    assert "['before'] True ['after', 'before']" == after


def test_a_value_that_sqlite_refuses(backend):
    """
    A value over SQLite's own limit is the store's refusal.
    """
    put(backend, "k", READY)
    backend._file.idle[0].setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000)

    with pytest.raises(BackendStoreError, match="too big"):
        put(backend, "big", b"x" * 2000)


def test_a_deleted_file_is_made_anew(path, backend):
    """
    After the file was deleted the next operation makes a new one, which others see.
    """
    put(backend, "k", READY)
    for file in path.parent.iterdir():
        file.unlink()

    assert {} == backend.get_many(["k"])
    assert put(backend, "x", READY) is True
    assert 1 == count(backend)


def test_a_replaced_file_is_opened(tmp_path, path, backend, opened):
    """
    After the file was replaced the records of the new one are read, by all connections.
    """
    put(backend, "old", READY)
    other = opened(tmp_path / "other.db")
    put(other, "new", READY)
    other.close()

    def replace(_):  # while a connection is in use
        shutil.move(tmp_path / "other.db", path)
        for rest in tmp_path.glob("results.db-*"):
            rest.unlink()
        assert {"new": READY} == backend.get_many(["old", "new"])

    backend._read(replace)

    for _ in range(3):
        assert {"new": READY} == backend.get_many(["old", "new"])
    assert 1 == len(backend._file.idle)


# -- locks ----------------------------------------------------------------------------------


def test_a_locked_file_is_an_error_in_time(path, opened, foreign):
    """
    While another program holds the file an operation ends with its timeout, and works later.
    """
    backend = opened(path, operation_timeout=1.0)
    put(backend, "k", READY)
    foreign.execute("BEGIN IMMEDIATE")

    with pytest.raises(BackendUnavailableError, match=r"results\.db: database is locked"):
        put(backend, "x", READY)
    with pytest.raises(BackendUnavailableError, match=r"results\.db: database is locked"):
        backend.put_many([("x", READY)], unless=ANY, expires=None)
    assert {"k": READY} == backend.get_many(["k", "x"])
    foreign.execute("ROLLBACK")

    assert put(backend, "x", READY) is True


@pytest.mark.parametrize("lock", ["BEGIN EXCLUSIVE", "BEGIN; SELECT * FROM theirs"])
def test_a_new_file_that_is_locked(path, opened, foreign, lock):
    """
    A file that is held before it was ever ours is an error in time, and opened when it is free.
    """
    foreign.execute("CREATE TABLE theirs (x)")
    for statement in lock.split(";"):
        foreign.execute(statement)
    with pytest.raises(BackendUnavailableError, match=r"results\.db: database is locked"):
        put(opened(path, operation_timeout=0.5), "k", READY)
    release = threading.Timer(0.1, foreign.execute, ["ROLLBACK"])
    release.start()

    assert put(opened(path, operation_timeout=60), "k", READY) is True
    release.join()


def test_connections_are_few(backend):
    """
    However many threads work at once there are only so many connections, and all get a turn.
    """
    start = threading.Barrier(16)
    keys = []

    def work():
        start.wait()
        for number in range(20):
            key = f"{threading.get_ident()}-{number}"
            put(backend, key, READY)
            keys.extend(backend.get_many([key]))

    run_threads(work, 16)

    assert 320 == len(set(keys)) == count(backend)
    assert len(backend._file.idle) <= backend.CONNECTIONS + backend.WRITERS


def test_no_turn_in_time_is_an_error(path, opened):
    """
    Where all connections are in use for too long the error says so.
    """
    backend = opened(path, operation_timeout=0.5)

    def use_more(left):
        if left:
            backend._read(lambda _: use_more(left - 1))
        else:
            with pytest.raises(BackendUnavailableError, match=r"no connection free in 0\.5 s"):
                backend.get_many(["k"])

    use_more(backend.CONNECTIONS)

    assert {} == backend.get_many(["k"])


def test_the_wait_for_a_turn_is_part_of_the_operation(path, opened, monkeypatch):
    """
    Who waited long for a connection waits the less for the file.
    """
    backend = opened(path, operation_timeout=5)
    put(backend, "k", READY)
    moments = iter([0.0, 4.0])
    monkeypatch.setattr(sqlite_connections, "monotonic", lambda: next(moments))

    timeout = backend._read(lambda connection: connection.execute("PRAGMA busy_timeout").fetchone())
    assert (1000,) == timeout


def run_threads(target, number):
    """
    Run *target* in so many threads, to their end.
    """
    threads = [threading.Thread(target=target) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# -- processes ------------------------------------------------------------------------------

RACE = """
import sys
from coatcheck._embedded.sqlite import SQLiteBackend
from coatcheck.states import READY_STATES
from coatcheck.testing.forking import on_both_sides
value = b'{"status": "SUCCESS", "result": %s}' % sys.argv[2].encode()
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    backend = SQLiteBackend(f"{sys.argv[1]}{number}", operation_timeout=60)
    if backend.put("k", value, unless=READY_STATES, expires=60):
        print(number, sys.argv[2])
    backend.close()
"""


def test_one_of_many_processes_wins(path, opened):
    """
    Of processes that open a new file and store at once, one is told that its record is the one,
    and it is the one that is read.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, path, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(10)
    ]
    for process in processes:
        assert "ready\n" == process.stdout.readline()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    won = [line.split() for process in processes for line in process.communicate()[0].splitlines()]

    assert [0] * 10 == [process.returncode for process in processes]
    assert sorted(map(str, range(40))) == sorted(file for file, _ in won)
    for file, number in won:
        found = opened(f"{path}{file}").get_many(["k"])
        assert {"k": b'{"status": "SUCCESS", "result": %s}' % number.encode()} == found


KILLED = """
import os, signal, sys
from coatcheck._embedded.sqlite import SQLiteBackend
backend = SQLiteBackend(sys.argv[1])
backend.put("before", b"x", unless=frozenset(), expires=None)
def work(connection):
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM coatcheck_records")
    os.kill(os.getpid(), signal.SIGKILL)
backend._write(work)
"""


def test_a_killed_writer_leaves_no_lock(path, backend):
    """
    A process that was killed in the middle of a write leaves neither a lock nor half a write.
    """
    subprocess.run([sys.executable, "-c", KILLED, path], check=False)

    assert {"before": b"x"} == backend.get_many(["before"])
    assert put(backend, "after", READY) is True


def test_a_forked_child_opens_its_own(path):
    """
    Child and parent use connections of their own. SQLite's locks of the child are real: a parent
    that closes does not take away the log in which the child has written.
    """
    backend = SQLiteBackend(path)
    put(backend, "before", READY)

    written, closed = os.pipe(), os.pipe()

    def act(side):
        put(backend, side, READY)
        if side == "child":
            os.write(written[1], b"!")
            os.read(closed[0], 1)
            put(backend, "again", READY)
        else:
            os.read(written[0], 1)
            backend.close()
            kept = Path(f"{path}-wal").exists()
            os.write(closed[1], b"!")
            assert kept

    on_both_sides(act)

    assert ["again", "before", "child", "parent"] == sorted(backend.scan())
    backend.close()


def test_a_child_forked_in_the_middle_of_an_operation_refuses_the_file(path):
    """
    SQLite cannot be told that a lock was not inherited: the child says so, and the parent goes on.
    """
    backend = SQLiteBackend(path, operation_timeout=2.0)

    def act(side):
        if side == "child":
            for _ in range(2):
                with pytest.raises(BackendError, match="was forked while a thread was using"):
                    backend.get_many(["k"])

    backend._read(lambda _: on_both_sides(act))

    assert put(backend, "k", READY) is True
    backend.close()


def test_nothing_is_open_while_the_process_forks(backend):
    """
    Before a fork the backend comes to rest; the parent goes on, and the child begins anew.
    """
    put(backend, "k", READY)

    backend._file.before_fork()
    assert [] == backend._file.idle
    assert backend._file.reading.free.empty()
    backend._file.after_fork_in_parent()
    assert {"k": READY} == backend.get_many(["k"])
    backend._file.before_fork()
    backend._file.after_fork()
    assert {"k": READY} == backend.get_many(["k"])


# -- rows of other programs -------------------------------------------------------------------

FOREIGN_VALUES = ["'text'", "42", "1.5", "''", '\'{"status": "SUCCESS", "result": 7}\'']


@pytest.fixture
def results(path):
    """
    The results in a file with a record that another program changes, and a good one.
    """
    with coatcheck.by_url(f"sqlite:///{path}", operation_timeout=30) as results:
        results.store_result("x", 1)
        results.store_result("good", 1)
        yield results


@pytest.mark.parametrize("value", [*FOREIGN_VALUES, "CAST(x'ff00' AS TEXT)"])
def test_a_value_that_is_no_blob(results, foreign, value):
    """
    A value of another type is read as its bytes, which breaks no read of other records.
    """
    foreign.execute(f"UPDATE coatcheck_records SET value = {value} WHERE key LIKE '%x'")

    found = results.get_many(["good", "x"])
    assert [True, True] == [meta.known for meta in found.values()]
    assert 1 == found["good"].result
    if "SUCCESS" in value:
        assert 7 == found["x"].result
    else:
        assert ("PENDING", DecodeError) == (found["x"].status, type(found["x"].error))
        with pytest.raises(WaitTimeoutError, match="the record of task 'x' cannot be read"):
            results.AsyncResult("x").get(timeout=0)
    assert {"good", "x"} == {meta.task_id for meta in results.scan()}
    assert 1 == next(iter(results.as_completed(["good"], timeout=30))).result
    assert results.forget("x")


def test_a_text_that_is_replaced_as_it_was_read(backend, foreign):
    """
    A record that another program stored as text can be replaced by whoever has read it.
    """
    put(backend, "k", UNREADY)
    foreign.execute("UPDATE coatcheck_records SET value = CAST(value AS TEXT)")

    assert UNREADY == (read := backend.get_many(["k"])["k"])
    assert put(backend, "k", READY, if_match=read) is True
    assert {"k": READY} == backend.get_many(["k"])


def test_a_value_that_is_null(path, foreign, opened):
    """
    A table that lets values be NULL has damaged records.
    """
    foreign.execute(sqlite_connections._SCHEMA.replace("NOT NULL", ""))
    foreign.execute("INSERT INTO coatcheck_records (key) VALUES ('k')")

    assert {"k": b""} == opened(path).get_many(["k"])


@pytest.mark.parametrize("key", ["x'ff00'", "CAST(x'ff00' AS TEXT)", "CAST(x'6bff' AS TEXT)", "''"])
@pytest.mark.parametrize("number", [1, 2500])
def test_a_key_that_is_no_text(backend, foreign, key, number):
    """
    A key that is a blob, or text that is no UTF-8, is passed over by scans, purges and sweeps.
    """
    for name in ("a", "k", "kz", "\U0010ffff"):
        put(backend, name, READY)
    foreign.executemany(
        f"INSERT OR IGNORE INTO coatcheck_records VALUES (CAST({key} || ? AS TEXT), x'00', '', 1)"
        if key[0] == "C"
        else f"INSERT OR IGNORE INTO coatcheck_records VALUES (CAST({key} || ? AS BLOB), x'', '', 1)",
        [(str(n),) for n in range(number)],
    )
    foreign.execute("UPDATE coatcheck_records SET expires_at = NULL WHERE key LIKE '%7'")

    assert ["a", "k", "kz", "\U0010ffff"] == [*backend.scan()]
    assert ["k", "kz"] == [*backend.scan("k")]
    for n in range(backend.SWEEP_EVERY):
        put(backend, f"more{n}", READY)
    backend.purge()
    assert 0 == backend.purge()
    old = "SELECT count(*) FROM coatcheck_records WHERE expires_at = 1"
    assert [(0,)] == foreign.execute(old).fetchall()


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {} FROM n"
COLUMNS = "hex(i) AS key, hex(i) AS value, hex(i) AS state, NULL AS expires_at"
VIEW = f"CREATE VIEW coatcheck_records AS {ENDLESS.format(COLUMNS)}"


def test_a_view_in_place_of_the_table(path, foreign, opened):
    """
    A view of the table's name is refused by name.
    """
    foreign.execute(VIEW)

    for operation in (
        lambda backend: backend.get_many(["k"]),
        lambda backend: put(backend, "k", READY),
        lambda backend: [*backend.scan()],
    ):
        with pytest.raises(BackendUnavailableError, match="coatcheck_records is a view"):
            operation(opened(path))


def test_a_view_that_takes_the_tables_place(path, foreign, opened):
    """
    A view without an end, made while the file is open, ends with the operation's time.
    """
    backend = opened(path, operation_timeout=1.5)
    put(backend, "k", READY)
    foreign.execute("DROP TABLE coatcheck_records")
    foreign.execute(VIEW)

    with pytest.raises(BackendUnavailableError, match=r"results\.db: not done in 1\.5 s"):
        backend.get_many(["k"])


def test_a_trigger_without_an_end(path, foreign, opened):
    """
    A write that sets off a trigger without an end ends in time; reads go on.
    """
    backend = opened(path, operation_timeout=1.5)
    put(backend, "k", READY)
    body = f"SELECT count(*) FROM ({ENDLESS.format('i')})"
    foreign.execute(f"CREATE TRIGGER t AFTER INSERT ON coatcheck_records BEGIN {body}; END")

    with pytest.raises(BackendUnavailableError, match=r"results\.db: not done in 1\.5 s"):
        put(backend, "x", READY)
    assert {"k": READY} == backend.get_many(["k", "x"])


class LimitError(Exception):
    """
    A limit that a signal handler enforces.
    """


def test_a_signal_during_a_long_statement():
    """
    An exception raised by a signal handler is not lost in SQLite's callback.
    """

    def handle(*_):
        raise LimitError

    before = signal.signal(signal.SIGALRM, handle)
    try:
        with contextlib.closing(sqlite_connections.Connection(":memory:")) as connection:
            connection.be_patient(time.monotonic() + 0.3)
            with pytest.raises(LimitError):
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                with contextlib.suppress(sqlite3.OperationalError):
                    connection.execute(ENDLESS.format("count(*)")).fetchall()
                time.sleep(60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_blocked_stores_do_not_block_reads(path, opened, foreign):
    """
    However many stores wait for another program's lock, reads go on.
    """
    backend = opened(path, operation_timeout=60)
    put(backend, "k", READY)
    foreign.execute("BEGIN IMMEDIATE")
    threads = [threading.Thread(target=put, args=(backend, f"x{n}", READY)) for n in range(8)]
    for thread in threads:
        thread.start()
    try:
        while not backend._file.writing.free.empty():
            time.sleep(0.001)
        for _ in range(20):
            assert {"k": READY} == backend.get_many(["k"])
        assert ["k"] == [*backend.scan()]
        assert all(thread.is_alive() for thread in threads)
    finally:
        foreign.execute("ROLLBACK")
        for thread in threads:
            thread.join()
    assert 9 == count(backend)


# -- files that may only be read --------------------------------------------------------------

READER = """
import os, sys, coatcheck
with coatcheck.by_url(f"{sys.argv[1]}-warm") as warm:  # the other user cannot import
    warm.store_result("t", 1)
    assert [warm.AsyncResult("t").get(timeout=30)] == [meta.result for meta in warm.scan()]
try:
    warm.get_result("")
except coatcheck.CoatcheckError:
    pass
os.setgid(65534), os.setuid(65534)
with coatcheck.by_url(sys.argv[1], read_only=True) as results:
    while (command := sys.stdin.readline().strip()) != "end":
        try:
            print(eval(command))
        except coatcheck.CoatcheckError as error:
            print(f"{type(error).__name__}: {error}")
        sys.stdout.flush()
"""


class OtherUser:
    """
    A process of a user who may read the file and nothing more.
    """

    def __init__(self, url):
        self._process = subprocess.Popen(
            [sys.executable, "-c", READER, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, command):
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def end(self):
        self._process.communicate("end\n", timeout=60)


@pytest.fixture
def shared():
    """
    A directory that everybody may read and only its owner write.
    """
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name, "results.db")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_reader_who_may_not_write(shared, opened):
    """
    A user without write access reads the file whether a writer has it open or not, and what is
    stored meanwhile; a store is refused.
    """
    writer = opened(shared)
    key = "celery-task-meta-t"
    put(writer, key, READY)
    reader = OtherUser(f"sqlite:///{shared}")
    try:
        assert "1" == reader.ask("results.get_result('t')")
        writer.close()
        for _ in range(2):
            assert "1" == reader.ask("results.get_result('t')")
        assert "1" == reader.ask("results.AsyncResult('t').get(timeout=30)")
        assert "['t']" == reader.ask("[meta.task_id for meta in results.scan()]")
        put(writer, key, OTHER, unless=frozenset())
        assert "2" == reader.ask("results.get_result('t')")
        writer.close()
        assert "2" == reader.ask("results.get_result('t')")
        stored = "results.backend.backend.put('k', b'', unless=frozenset(), expires=None)"
        assert "attempt to write a readonly database" in reader.ask(stored)
    finally:
        reader.end()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_reader_who_may_not_write_next_to_a_log(shared, opened):
    """
    Where a log is left behind that cannot be read without writing, the error says what to do.
    """
    writer = opened(shared)
    put(writer, "celery-task-meta-t", READY)
    copy = shared.with_name("copy.db")
    for end in ("", "-wal"):
        shutil.copy(f"{shared}{end}", f"{copy}{end}")
    reader = OtherUser(f"sqlite:///{copy}")
    try:
        said = reader.ask("results.get_result('t')")
        assert "copy.db: " in said
        assert "the file has a log" in said
        assert f"write to the directory {shared.parent}" in said
        opened(copy).get_many(["k"])
        assert "1" == reader.ask("results.get_result('t')")
    finally:
        reader.end()


def test_a_change_during_a_read_without_locks(backend, path, monkeypatch):
    """
    A file that changes while it is read without a lock is an error, and the next read is right.
    """
    put(backend, "k", READY)
    backend.close()
    prepare = backend._file._prepare

    def refuse(connection):
        connection.execute("PRAGMA query_only = 1")
        connection.execute("CREATE TABLE t (x)")

    monkeypatch.setattr(backend._file, "_prepare", refuse)
    assert {"k": READY} == backend.get_many(["k"])
    with pytest.raises(
        BackendUnavailableError, match="it changed while it was read without a lock"
    ):
        backend._read(lambda _: os.utime(path, (1, 1)))
    assert {"k": READY} == backend.get_many(["k"])
    assert [] == backend._file.idle
    monkeypatch.setattr(backend._file, "_prepare", prepare)
    assert put(backend, "x", READY) is True
