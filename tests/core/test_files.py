"""
`file:///directory`: records in files, shared by processes that may be killed, and with Celery.
"""

import contextlib
import errno
import json
import math
import multiprocessing
import os
import resource
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest

import coatcheck
import coatcheck.aio
from coatcheck import by_url
from coatcheck._backends.backend import ANY, Capability
from coatcheck._embedded import directory as directory_module
from coatcheck._embedded import files, stamps
from coatcheck._embedded.files import FilesBackend
from coatcheck._runtime import entrypoints
from coatcheck._settings.url import URL
from coatcheck.errors import (
    BackendGetMetaError,
    BackendStoreError,
    BackendUnavailableError,
    ConfigurationError,
    DecodeError,
    ResultTooLargeError,
    UnknownTaskError,
    WaitTimeoutError,
)
from coatcheck.states import READY_STATES

UNREADY = b'{"status": "STARTED"}'
READY = b'{"status": "SUCCESS", "result": 1}'
OTHER = b'{"status": "SUCCESS", "result": 2}'
FAILED = b'{"status": "FAILURE", "result": null}'
PREFIX = "celery-task-meta-"
SPAWN = multiprocessing.get_context("spawn")
PATIENCE = 60.0


@pytest.fixture
def directory(tmp_path):
    """
    Where the records are to be; not made yet.
    """
    return tmp_path / "results"


@pytest.fixture
def backend(directory):
    """
    A backend with a directory of its own.
    """
    return FilesBackend(directory)


def put(backend, key, value, unless=READY_STATES, **options):
    """
    Store *value*, by default for a minute.
    """
    return backend.put(key, value, unless=unless, **{"expires": 60, **options})


def get(backend, key):
    """
    Return what is stored, or `None`.
    """
    return backend.get_many([key]).get(key)


def age(path, seconds):
    """
    Make it look as if *path* had been written *seconds* ago, by another program.
    """
    then = time.time() - seconds
    os.utime(path, (then, then))


def run(target, *args):
    """
    Run *target* in a process, to its end, and return its exit code.
    """
    process = SPAWN.Process(target=target, args=args)
    process.start()
    process.join(PATIENCE)
    return process.exitcode


# -- the URL ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "directory"),
    [
        ("file:///abs/dir", "/abs/dir"),
        ("file:///abs/dir/", "/abs/dir"),
        ("file://localhost/abs/dir", "/abs/dir"),
        ("file://rel/dir", "{cwd}/rel/dir"),
        ("file://localhost", "{cwd}/localhost"),
        ("file:///a%20b/c d", "/a%20b/c d"),
        ("FILE:///abs?fsync=1", "/abs"),
    ],
)
def test_urls_are_read_as_celery_reads_them(url, directory):
    """
    Absolute, by "localhost", and relative to the working directory; nothing is decoded.
    """
    made = FilesBackend.from_url(URL(url))

    assert directory.format(cwd=Path.cwd()) == str(made._files)


@pytest.mark.parametrize("url", ["file://", "file:", "file://?fsync=1"])
def test_a_url_names_a_directory(url):
    """
    A URL without a directory says how to name one.
    """
    with pytest.raises(ConfigurationError, match="names no directory: write file:///absolute"):
        FilesBackend.from_url(URL(url))


def test_options_of_the_url(tmp_path):
    """
    `fsync` is an option, an unknown one is an error.
    """
    backend = FilesBackend.from_url(URL(f"file://{tmp_path}?fsync=1"))

    assert put(backend, "k", READY)
    assert put(backend, "k", READY)
    assert READY == get(backend, "k")
    with pytest.raises(ConfigurationError, match="file:// has no option 'fsnyc'"):
        FilesBackend.from_url(URL("file:///x?fsnyc=1"))


def test_the_scheme_needs_no_scan(monkeypatch, tmp_path):
    """
    The scheme is built in, and declares what it is capable of.
    """
    monkeypatch.setattr(entrypoints, "_scan", None)
    backend = by_url(f"file://{tmp_path}").backend

    assert Capability.SCAN | Capability.SHARED == backend.capabilities


def test_the_directory_is_made_by_the_first_store(tmp_path, monkeypatch):
    """
    A read makes nothing; a store makes the directory; a later change of the working directory
    does not move it.
    """
    monkeypatch.chdir(tmp_path)
    backend = FilesBackend("deep/results")

    assert get(backend, "k") is None
    assert [] == list(backend.scan())
    assert 0 == backend.purge() == backend.delete_many(["k"])
    assert not put(FilesBackend("other"), "k", READY, if_match=UNREADY)
    monkeypatch.chdir("/")
    assert put(backend, "k", READY)
    assert READY == (tmp_path / "deep" / "results" / "k").read_bytes()


# -- names ------------------------------------------------------------------------------------


def test_a_record_is_the_file_that_celery_expects(directory):
    """
    The file is named like the key, holds the record and nothing else, and is as readable as the
    umask lets it be; no other file stays.
    """
    before = os.umask(0o027)
    try:
        with by_url(f"file://{directory}") as results:
            results.mark_as_started("t")
            results.store_result("t", {"a": 1})
    finally:
        os.umask(before)

    (file,) = directory.iterdir()
    document = json.loads(file.read_bytes())
    assert ("celery-task-meta-t", 0o640) == (file.name, file.stat().st_mode & 0o777)
    assert ["status", "result", "traceback", "children", "date_done", "task_id"] == list(document)[
        :6
    ]
    assert ("SUCCESS", {"a": 1}, "t") == tuple(document[k] for k in ("status", "result", "task_id"))


ODD = [
    "a/b", "../up", "/etc/passwd", "nul\0", "x" * 239, "é" * 200, ".", "..", ".hidden", "",
    "x~" + "0" * 64, "line\nbreak/", ".coatcheck-mine",
]  # fmt: skip


@pytest.mark.parametrize("prefix", [PREFIX, ""])
@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_keys_that_cannot_be_names(backend, directory, odd, prefix):
    """
    What cannot be a file's name is hashed, is found again and by a scan, and stays in the directory.
    """
    key = prefix + odd or "."
    assert put(backend, key, UNREADY)
    assert put(backend, key, READY)
    assert not put(backend, key, OTHER)
    put(backend, "plain", OTHER)

    (name,) = {path.name for path in directory.iterdir()} - {"plain"}
    assert name == key or ("~" in name and len(name) < 200)
    assert name.startswith(prefix)
    assert READY == get(backend, key)
    assert {key, "plain"} == set(backend.scan())
    assert [key] == list(backend.scan(prefix + odd or "."))
    assert 1 == backend.delete_many([key])
    assert ["plain"] == list(backend.scan())


def test_the_longest_name(backend, directory):
    """
    255 bytes are a name, one more is not.
    """
    for key in ("x" * 255, "x" * 256):
        put(backend, key, READY)

    assert {255, 100 + 1 + 64} == {len(path.name) for path in directory.iterdir()}


def test_foreign_files_are_left_alone(backend, directory):
    """
    A scan passes over hidden files, empty ones and names that are no text; what looks hashed and
    is not does no harm.
    """
    put(backend, PREFIX + "t", READY)
    (directory / ".fs-backend-x").write_text("Celery's own test of the directory")
    (directory / f"{PREFIX}empty").touch()
    (directory / f"{PREFIX}x~{'0' * 64}").write_text("not ours")
    Path(os.fsdecode(bytes(directory) + b"/celery-task-meta-\xff")).write_text("{}")

    assert [PREFIX + "t"] == list(backend.scan(PREFIX))
    assert 0 == backend.purge()
    assert 5 == len(list(directory.iterdir()))


# -- who wins ---------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [None, UNREADY])
def test_the_rules(backend, first):
    """
    Absent and unready records give way, ready ones do not, each by the rule of the call.
    """
    if first is not None:
        assert put(backend, "k", first)
        assert put(backend, "k", first, ANY)
        assert not put(backend, "k", READY, ANY)
        assert not put(backend, "k", READY, frozenset(), if_match=OTHER)
    else:
        assert not put(backend, "k", READY, frozenset(), if_match=OTHER)
    assert put(backend, "k", FAILED)
    assert put(backend, "k", FAILED)
    assert not put(backend, "k", READY)
    assert put(backend, "k", READY, frozenset({"SUCCESS"}))
    assert not put(backend, "k", OTHER, frozenset({"SUCCESS"}))
    assert put(backend, "k", OTHER, READY_STATES, if_match=READY)
    assert OTHER == get(backend, "k")


def race(url, barrier, rounds, number, won):
    """
    Take part in one race after another: on new ids, started ones, failed ones and expired ones.
    """
    with coatcheck.by_url(url) as results:
        for n in range(rounds):
            for kind in ("new", "started", "failed", "expired", "long/"):
                task_id = f"{kind}{n}"
                protect = frozenset({"SUCCESS"}) if kind == "failed" else None
                barrier.wait(PATIENCE)
                if results.store_result(task_id, number, protect=protect):
                    won.put((task_id, number))
        barrier.wait(PATIENCE)


def test_eight_processes_race(directory):
    """
    Of eight processes exactly one is the first, every time, whatever was there, and its record
    stays.
    """
    rounds, url = 25, f"file://{directory}"
    barrier, won = SPAWN.Barrier(8), SPAWN.Queue()
    with coatcheck.by_url(url) as results:
        for n in range(rounds):
            results.mark_as_started(f"started{n}")
            results.mark_as_failure(f"failed{n}", ValueError("first try"))
            results.store_result(f"expired{n}", "old", expires=0.001)
        racers = [
            SPAWN.Process(target=race, args=(url, barrier, rounds, number, won))
            for number in range(8)
        ]
        for racer in racers:
            racer.start()
        winners = [won.get(timeout=PATIENCE) for _ in range(5 * rounds)]
        for racer in racers:
            racer.join(PATIENCE)

        assert [0] * 8 == [racer.exitcode for racer in racers]
        assert won.empty()
        assert dict(winners) == {
            task_id: meta.result for task_id, meta in results.get_many(dict(winners)).items()
        }
        assert 5 * rounds == len(dict(winners))
    assert 5 * rounds == len(list(directory.iterdir()))
    won.close()


def count_up(directory, steps):
    """
    Add one, *steps* times, each time over exactly what was read.
    """
    backend = FilesBackend(directory)
    while steps:
        seen = get(backend, "n")
        more = b'{"status": "STARTED", "result": %d}' % (json.loads(seen)["result"] + 1)
        # A random tail: two of the same would be one that is repeated.
        more = more[:-1] + b', "by": "%s"}' % os.urandom(8).hex().encode()
        steps -= put(backend, "n", more, frozenset(), if_match=seen)


def test_if_match_loses_no_update(backend, directory):
    """
    Processes that count by compare and swap count every step.
    """
    put(backend, "n", b'{"status": "STARTED", "result": 0}')
    counting = [SPAWN.Process(target=count_up, args=(directory, 50)) for _ in range(4)]
    for process in counting:
        process.start()
    for process in counting:
        process.join(PATIENCE)

    assert 200 == json.loads(get(backend, "n"))["result"]


def test_a_record_that_is_replaced_before_it_is_locked(backend, directory):
    """
    Whoever locks a file that has just been replaced looks at the new one.
    """
    put(backend, "k", UNREADY)
    try_lock = backend._files._try_lock

    def late(descriptor, path):
        backend._files._try_lock = try_lock
        assert put(FilesBackend(directory), "k", READY)
        return try_lock(descriptor, path)

    backend._files._try_lock = late

    assert not put(backend, "k", OTHER)
    assert READY == get(backend, "k")


def test_readers_never_see_half(backend):
    """
    While large records replace one another and come and go, a reader sees whole ones only.
    """
    values = [b'{"status": "STARTED", "result": "%s"}' % (c * 300_000) for c in (b"a", b"b")]
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            for value in values:
                put(backend, "k", value)
            backend.delete_many(["k"])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = {get(backend, "k") for _ in range(500)}
    finally:
        ended.set()
        writer.join()

    assert seen <= {None, *values}


# -- who is killed ----------------------------------------------------------------------------


def die_at(step, after, directory, value, unless):
    """
    Store, and be killed right before or right after the call of `os` that is named.
    """
    inner = getattr(os, step)

    def die(*args, **options):
        if after:
            inner(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(os, step, die)
    put(FilesBackend(directory), "k", value, unless)


STEPS = [
    (first, step, after)
    for first, last in ((None, "link"), (UNREADY, "replace"))
    for step in ("write", "utime", last)
    for after in (False, True)
]


@pytest.mark.parametrize(("first", "step", "after"), STEPS)
def test_a_killed_writer(backend, directory, first, step, after):
    """
    Whoever is killed in the middle of a store leaves the old record or the new one, whole, and
    keeps nobody from storing.
    """
    if first is not None:
        put(backend, "k", first)
    assert -signal.SIGKILL == run(die_at, step, after, directory, READY, READY_STATES)

    stored = after and step in ("link", "replace")
    assert (READY if stored else first) == get(backend, "k")
    assert put(backend, "k", OTHER) is not stored
    assert (READY if stored else OTHER) == get(backend, "k")
    assert ["k"] == list(backend.scan())


def test_what_the_killed_leave_is_purged(backend, directory, monkeypatch):
    """
    A temporary file is removed once nobody can be writing it any longer.
    """
    run(die_at, "link", False, directory, READY, READY_STATES)
    assert 1 == len(list(directory.iterdir()))
    backend.purge()
    assert 1 == len(list(directory.iterdir()))
    monkeypatch.setattr(files, "STALE", -1.0)

    assert 0 == backend.purge()
    assert [] == list(directory.iterdir())


def store_for_ever(directory):
    """
    Replace a large record again and again.
    """
    backend = FilesBackend(directory)
    while True:
        for letter in (b"a", b"b"):
            put(backend, "k", b'{"status": "STARTED", "result": "%s"}' % (letter * 1_000_000))


def test_killed_at_any_moment(backend):
    """
    However often a busy writer is killed, the record is whole, and the next store goes through.
    """
    for n in range(10):
        writer = SPAWN.Process(
            target=store_for_ever, args=(os.fsdecode(backend._files._directory),)
        )
        writer.start()
        seen = get(backend, "k")
        while get(backend, "k") in (None, seen):
            assert writer.is_alive()
        time.sleep(0.003 * n)
        writer.kill()
        writer.join()

        assert 1_000_000 == len(json.loads(get(backend, "k"))["result"])
        assert put(backend, "k", UNREADY)


def test_a_writer_that_stands_still(directory):
    """
    Who cannot get the lock in time says so; reads go on, and the lock is free with its holder.
    """
    held = FilesBackend(directory)
    put(held, "k", UNREADY)
    other = FilesBackend(directory, operation_timeout=0.1)

    def stand_still(_):
        with pytest.raises(BackendUnavailableError, match=r"another writer has held it for 0.1 s"):
            put(other, "k", READY)
        with pytest.raises(BackendUnavailableError, match="another writer"):
            other.delete_many(["k"])
        assert UNREADY == get(other, "k")
        assert put(other, "another", READY)

    held._files.while_locked(held._files.path_of("k"), math.inf, stand_still)
    assert put(other, "k", READY)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_holds_no_lock(backend):
    """
    A child that is forked while a record is locked keeps nobody from storing.
    """
    put(backend, "k", UNREADY)

    def fork(_):
        pid = os.fork()
        if pid == 0:
            os._exit(len(backend._files._locks))
        return pid

    pid = backend._files.while_locked(backend._files.path_of("k"), math.inf, fork)
    assert 0 == os.waitpid(pid, 0)[1]

    assert put(backend, "k", READY)
    assert set() == backend._files._locks


# -- expiry -----------------------------------------------------------------------------------


def test_an_expired_record_is_absent(backend, directory):
    """
    It is not read, not scanned, not counted when deleted, gives way to everything but a match,
    and is purged; what is kept, and what others wrote, is not.
    """
    for key in ("a", "b", "c", "d"):
        put(backend, key, READY, expires=0.001)
    put(backend, "kept", READY, expires=None)
    put(backend, "long", READY, expires=1e12)
    (directory / "foreign").write_bytes(READY)
    age(directory / "foreign", 1e6)
    deadline = time.monotonic() + PATIENCE
    while get(backend, "d") is not None:
        assert time.monotonic() < deadline

    assert {"kept", "long", "foreign"} == set(backend.scan())
    assert 0 == backend.delete_many(["a"])
    assert not put(backend, "b", OTHER, if_match=READY)
    assert put(backend, "b", OTHER, ANY)
    assert 2 == backend.purge()
    assert {"b", "kept", "long", "foreign"} == {path.name for path in directory.iterdir()}


@pytest.mark.parametrize("expires", [1, 86_400, 31 * 86_400, 10 * 365 * 86_400])
def test_celerys_cleanup_leaves_what_lives(backend, directory, expires):
    """
    Celery's cleanup, at its default of a day, takes a record for old when it expires, not before.
    """
    before = time.time()
    put(backend, "k", READY, expires=expires)
    old_at = (directory / "k").stat().st_mtime + 86_400

    assert before + expires <= old_at <= time.time() + expires + 0.01


def test_the_time_of_others_means_nothing(backend, directory):
    """
    Celery's write over ours takes the expiry with it; so does a change of the file's time alone.
    """
    put(backend, "k", UNREADY, expires=0.001)
    (directory / "k").write_bytes(READY)
    put(backend, "moved", READY, expires=0.001)
    age(directory / "moved", 1e6)

    assert {"k": READY, "moved": READY} == backend.get_many(["k", "moved"])


def test_times_of_others_are_told_apart():
    """
    Of a million times as file systems have them, none but few look like ours.
    """
    start = time.time_ns()

    taken = sum(stamps.expiry(start + n * 7_919, 500) is not None for n in range(1_000_000))
    assert taken < 20


def test_a_file_system_with_coarse_times(backend, monkeypatch):
    """
    Where times of files cannot say when a record expires, a store says so, and stores nothing.
    """
    utime = os.utime
    monkeypatch.setattr(os, "utime", lambda fd, ns: utime(fd, ns=(0, ns[1] // 10**9 * 10**9)))

    with pytest.raises(BackendStoreError, match="the file system keeps the times of files too"):
        put(backend, "k", READY)
    assert get(backend, "k") is None


# -- other writers ----------------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"", READY[:10]])
def test_a_file_that_is_being_written(backend, directory, start, monkeypatch):
    """
    A reader, and a writer, wait a moment for another program that is in the middle of its write.
    """
    monkeypatch.setattr(directory_module, "SETTLE", 30.0)
    monkeypatch.setattr(directory_module, "PAUSE", 0.005)
    directory.mkdir()
    (directory / "k").write_bytes(start)
    looks = []
    torn = backend._files._looks_torn

    def finish(data):
        looks.append(data)
        if len(looks) == 3:
            (directory / "k").write_bytes(READY)
        return torn(data)

    backend._files._looks_torn = finish

    assert READY == get(backend, "k")
    assert [start, start, start, READY] == looks
    looks.clear()
    (directory / "k").write_bytes(start)
    assert not put(backend, "k", OTHER)
    assert READY == get(backend, "k")


def test_a_file_that_stays_empty(backend, directory):
    """
    An empty file whose writer does not go on is no record.
    """
    directory.mkdir()
    (directory / "k").touch()

    assert get(backend, "k") is None
    assert put(backend, "k", READY, ANY)
    assert READY == get(backend, "k")


def test_a_file_that_stays_cut_off(directory):
    """
    A cut-off record whose writer does not go on is a damaged one; old ones are not waited for.
    """
    directory.mkdir()
    (directory / f"{PREFIX}t").write_bytes(READY[:25])
    with by_url(f"file://{directory}") as results:
        assert isinstance(results.get_task_meta("t").error, DecodeError)
        age(directory / f"{PREFIX}t", 10)
        assert results.backend.backend._files.read(bytes(directory / f"{PREFIX}t")).settled


def test_a_file_that_vanishes(backend, directory):
    """
    Celery's cleanup may delete what is being replaced here; the store goes through.
    """
    put(backend, "k", UNREADY)
    try_lock = backend._files._try_lock

    def vanish(descriptor, path):
        (directory / "k").unlink(missing_ok=True)
        return try_lock(descriptor, path)

    backend._files._try_lock = vanish

    assert put(backend, "k", READY)
    assert READY == get(backend, "k")


def test_celerys_ready_files_are_protected(directory):
    """
    A ready record that Celery wrote stays, an unready one gives way.
    """
    directory.mkdir()
    (directory / f"{PREFIX}done").write_bytes(READY)
    (directory / f"{PREFIX}going").write_bytes(UNREADY)
    with by_url(f"file://{directory}") as results:
        assert not results.store_result("done", "late")
        assert results.store_result("going", "ready")


def test_celery_writes_over_ours_in_place(backend, directory):
    """
    What Celery, which replaces all but SUCCESS, writes over our record is read as it is.
    """
    put(backend, "k", FAILED, expires=5)
    with (directory / "k").open("wb") as file:
        file.write(READY)

    assert READY == get(backend, "k")
    assert not put(backend, "k", OTHER)


# -- errors -----------------------------------------------------------------------------------


def test_a_file_in_the_way(tmp_path):
    """
    Where the directory is a file, stores and reads say so.
    """
    (tmp_path / "file").write_text("in the way")
    backend = FilesBackend(tmp_path / "file")

    with pytest.raises(BackendStoreError, match="/file: Not a directory"):
        put(backend, "k", READY)
    with pytest.raises(BackendGetMetaError, match="/file: Not a directory"):
        get(backend, "k")
    with pytest.raises(BackendGetMetaError, match="/file: Not a directory"):
        list(backend.scan())


def without_rights(directory, said):
    """
    Try to store as a user who may not.
    """
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    backend = FilesBackend(directory)
    try:
        put(backend, "new", READY)
    except BackendStoreError as error:
        said.put(str(error))
    said.put(get(backend, "k"))


def test_an_unwritable_directory():
    """
    A store that may not write says so, and reads what it may.
    """
    said = SPAWN.Queue()
    with tempfile.TemporaryDirectory() as name:
        put(FilesBackend(name), "k", READY)
        Path(name).chmod(0o555)

        assert 0 == run(without_rights, name, said)
        assert f"{name}: Permission denied" == said.get(timeout=PATIENCE)
        assert READY == said.get(timeout=PATIENCE)
        Path(name).chmod(0o755)
    said.close()


def in_little_space(directory, said):
    """
    Try to store more than the process may write.
    """
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    backend = FilesBackend(directory)
    put(backend, "k", UNREADY)
    try:
        put(backend, "k", b'{"status": "SUCCESS", "result": "%s"}' % (b"x" * 5000))
    except BackendStoreError as error:
        said.put(str(error))


def test_a_record_that_does_not_fit(directory, backend):
    """
    A store that runs out of space in the middle says so, and the old record stays, alone.
    """
    said = SPAWN.Queue()

    assert 0 == run(in_little_space, directory, said)
    assert "File too large" in said.get(timeout=PATIENCE)
    assert UNREADY == get(backend, "k")
    assert ["k"] == [path.name for path in directory.iterdir()]
    said.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_errors_of_the_system_are_mapped(backend, directory, monkeypatch, code):
    """
    A full or broken disk is an error of the store that names the directory, its cause kept.
    """
    put(backend, "k", UNREADY)

    def fail(*args, **options):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", fail)
    kind = BackendUnavailableError if code == errno.EIO else BackendStoreError
    with pytest.raises(kind, match=f"{directory}: {os.strerror(code)}") as caught:
        put(backend, "k", READY)

    assert code == caught.value.__cause__.errno
    assert UNREADY == get(backend, "k")
    assert ["k"] == [path.name for path in directory.iterdir()]


def test_a_file_system_without_links(backend, directory, monkeypatch):
    """
    Where there are no hard links, the error says what to do.
    """

    def refuse(*args):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)

    with pytest.raises(BackendStoreError, match="no hard links: use another one, or sqlite:///"):
        put(backend, "k", READY)
    assert [] == list(directory.iterdir())


def test_no_descriptor_is_left_open(backend):
    """
    Stores, reads, scans and deletions close what they opened.
    """
    before = len(os.listdir("/dev/fd"))
    for n in range(20):
        put(backend, f"k{n}", UNREADY)
        put(backend, f"k{n}", READY)
        put(backend, f"k{n}", OTHER)
    list(backend.scan())
    backend.purge()
    backend.get_many([f"k{n}" for n in range(30)])
    backend.delete_many([f"k{n}" for n in range(30)])

    assert before == len(os.listdir("/dev/fd"))


# -- strange things in the directory ----------------------------------------------------------


def link_to(target):
    """
    Return a function that plants a symbolic link to *target*.
    """
    return lambda path: path.symlink_to(target)


def plant_socket(path):
    """
    Plant a socket that nobody listens at.
    """
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path.name)


def plant_sparse(path):
    """
    Plant a file that says it has a terabyte.
    """
    with path.open("wb") as file:
        file.truncate(2**40)


STRANGE = {
    "a link to nothing": (link_to("/nonexistent/x"), "is a symbolic link"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "is a symbolic link"),
    "a link to zeros": (link_to("/dev/zero"), "is a symbolic link"),
    "a link to a record": (link_to(f"{PREFIX}good"), "is a symbolic link"),
    "a pipe": (os.mkfifo, "is a named pipe"),
    "a directory": (Path.mkdir, "is a directory"),
    "a socket": (plant_socket, "is a socket"),
}
#: A plain name, and one that is a hash.
STRANGE_IDS = ("bad", "bad/" * 5)


@pytest.fixture(params=STRANGE)
def strange(request, directory):
    """
    Plant strange things under the names of records, groups and temporary files, next to good ones.
    Return what the errors call them.
    """
    plant, said = STRANGE[request.param]
    with by_url(f"file://{directory}") as results:
        for task_id in STRANGE_IDS:
            results.store_result(task_id, "to be gone")
            results.save_group(task_id, ["good"])
        results.store_result("good", 1)
    for path in list(directory.iterdir()):
        if path.name != f"{PREFIX}good":
            path.unlink()
            plant(path)
    plant(directory / ".coatcheck-left")
    return said


def test_reads_pass_over_what_is_no_file(strange, directory, monkeypatch):
    """
    A read takes it for no record, whatever else it reads, and nothing is removed.
    """
    monkeypatch.setattr(files, "STALE", -1.0)
    before = sorted(os.listdir(directory))
    with by_url(f"file://{directory}") as results:
        found = results.get_many([*STRANGE_IDS, "good"])
        assert [False, False, True] == [meta.known for meta in found.values()]
        assert not results.exists("bad")
        assert ["good"] == [meta.task_id for meta in results.scan()]
        assert 0 == results.purge()
        assert 1 == results.forget_many([*STRANGE_IDS, "good"])
        results.store_result("good", 2)
        assert 2 == next(iter(results.as_completed([*STRANGE_IDS, "good"], timeout=30))).result
        for task_id in STRANGE_IDS:
            with pytest.raises(UnknownTaskError):
                results.restore_group(task_id)
            assert not results.delete_group(task_id)
    assert before == sorted(os.listdir(directory))


@pytest.mark.parametrize("task_id", STRANGE_IDS)
def test_a_store_names_what_is_in_its_way(strange, directory, task_id):
    """
    A store neither follows nor replaces it, and says what it is.
    """
    before = sorted(os.listdir(directory))
    with by_url(f"file://{directory}") as results:
        with pytest.raises(BackendStoreError, match=rf"{PREFIX}bad.* {strange} and no record"):
            results.store_result(task_id, 1)
        with pytest.raises(BackendStoreError, match=rf" {strange} and no record"):
            results.expect(task_id)
        with pytest.raises(BackendStoreError, match=rf" {strange} and no record"):
            results.save_group(task_id, ["good"])
        assert 1 == results.get_result("good")
    assert before == sorted(os.listdir(directory))


async def test_asyncio_passes_over_what_is_no_file(strange, directory):
    """
    The same holds for asyncio.
    """
    async with coatcheck.aio.by_url(f"file://{directory}") as results:
        found = await results.get_many(["bad", "good"])
        assert [False, True] == [meta.known for meta in found.values()]
        with pytest.raises(BackendStoreError, match=rf" {strange} and no record"):
            await results.store_result("bad", 1)
        assert 1 == await results.AsyncResult("good").get(timeout=30)


@pytest.mark.parametrize("task_id", STRANGE_IDS)
def test_a_file_that_is_too_large(directory, task_id):
    """
    A sparse file of a terabyte is a damaged record, and its content is not read.
    """
    with by_url(f"file://{directory}") as results:
        results.store_result(task_id, 1)
        (path,) = directory.iterdir()
        plant_sparse(path)
        results.store_result("good", 1)

        found = results.get_many([task_id, "good"])
        assert [True, True] == [meta.known for meta in found.values()]
        assert ["PENDING", "SUCCESS"] == [meta.status for meta in found.values()]
        with pytest.raises(DecodeError, match=rf"{directory}: '{PREFIX}bad.*it has {2**40} bytes"):
            results.get_result(task_id)
        with pytest.raises(BackendStoreError, match="bytes, a record has"):
            results.store_result(task_id, 2)
        assert "good" in [meta.task_id for meta in results.scan()]
        assert 0 == results.purge()


def test_a_value_that_is_too_large(directory, monkeypatch):
    """
    What no reader would read is not stored.
    """
    monkeypatch.setattr(FilesBackend, "max_value_bytes", 5000)
    with by_url(f"file://{directory}") as results:
        with pytest.raises(ResultTooLargeError, match="limit is 5000"):
            results.store_result("t", "x" * 5000)
        assert "FAILURE" == results.get_state("t")


def test_a_file_that_grows_while_it_is_read(directory, backend, monkeypatch):
    """
    A file to which another program goes on adding is read up to the limit, and no further.
    """
    monkeypatch.setattr(directory_module, "SETTLE", 0.0)
    put(backend, "k", READY)
    backend._files._largest = 300_000
    pread = os.pread

    def grow(descriptor, size, offset):
        with (directory / "k").open("ab") as file:
            file.write(b" " * 100_000)
        return pread(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", grow)

    assert b"a record has 300000 at most" in get(backend, "k")


def with_other_users_files(directory, said):
    """
    Use a directory with files that this user may neither read nor remove.
    """
    os.setgid(65534)
    os.setuid(65534)
    with by_url(f"file://{directory}", operation_timeout=60) as results:
        found = results.get_many(["secret", "good", "se/cret"])
        said.put([(meta.status, str(meta.error)) for meta in found.values()])
        said.put(sorted(meta.task_id for meta in results.scan()))
        for operation in (results.store_result, results.forget):
            try:
                operation("secret")
            except BackendStoreError as error:
                said.put(str(error))
        said.put(results.purge())
        try:
            results.AsyncResult("secret").get(timeout=0)
        except WaitTimeoutError as error:
            said.put(str(error))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_files_of_another_user(monkeypatch):
    """
    A file that cannot be read is a damaged record, which breaks no read of others.
    """
    said = SPAWN.Queue()
    with tempfile.TemporaryDirectory() as name:
        with by_url(f"file://{name}") as results:
            for task_id in ("secret", "se/cret", "good"):
                results.store_result(task_id, 1)
            results.store_result("old", 1, expires=0.001)
        for path in Path(name).iterdir():
            if "good" not in path.name:
                path.chmod(0o600)
        left = Path(name, ".coatcheck-left")
        left.touch()
        os.utime(left, (0, 0))
        Path(name).chmod(0o1777)

        assert 0 == run(with_other_users_files, name, said)
        secret, good, hashed = said.get(timeout=PATIENCE)
        assert ("SUCCESS", "None") == good
        assert "PENDING" == secret[0] == hashed[0]
        assert "cannot be read" in secret[1]
        assert f"{name}: '{PREFIX}secret': Permission denied" in secret[1]
        assert ["good", "secret"] == said.get(timeout=PATIENCE)
        for _ in range(2):
            assert f"'{PREFIX}secret': Permission denied" in said.get(timeout=PATIENCE)
        assert 0 == said.get(timeout=PATIENCE)
        assert f"'{PREFIX}secret': Permission denied" in said.get(timeout=PATIENCE)
    said.close()


def test_a_link_that_takes_a_records_place(directory, backend):
    """
    A link that takes the place of a record while that is being locked is not followed.
    """
    put(backend, "k", UNREADY)
    put(backend, "other", UNREADY)
    try_lock = backend._files._try_lock

    def swap(descriptor, path):
        backend._files._try_lock = try_lock
        (directory / "k").unlink()
        (directory / "k").symlink_to("other")
        return try_lock(descriptor, path)

    backend._files._try_lock = swap

    with pytest.raises(BackendStoreError, match="'k' is a symbolic link and no record: remove it"):
        put(backend, "k", READY)
    assert UNREADY == get(backend, "other")
    assert set() == backend._files._locks
