"""
`memory://`: one store for a process, by name.
"""

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from coatcheck._backends.backend import ANY, Capability
from coatcheck._embedded import memory
from coatcheck._embedded.memory import MemoryBackend
from coatcheck._settings.url import URL
from coatcheck.errors import ConfigurationError
from coatcheck.states import READY_STATES

UNREADY = b'{"status": "STARTED"}'
READY = b'{"status": "SUCCESS", "result": 1}'
OTHER = b'{"status": "SUCCESS", "result": 2}'


@pytest.fixture
def backend():
    """
    A backend of its own.
    """
    return MemoryBackend()


@pytest.fixture
def clock(monkeypatch):
    """
    The backend's clock, which stands still.
    """
    now = SimpleNamespace(value=1000.0)
    monkeypatch.setattr(memory, "monotonic", lambda: now.value)
    return now


def put(backend, key, value, **options):
    """
    Store *value* over whatever is not ready.
    """
    return backend.put(key, value, **{"unless": READY_STATES, "expires": None, **options})


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


def test_expired_records_are_absent(backend, clock):
    """
    When its time is over a record is absent to reads, writes, deletes and scans; a write
    restarts it.
    """
    put(backend, "k", UNREADY, expires=10)
    clock.value += 9.999
    put(backend, "k", READY, expires=10)
    clock.value += 9.999
    assert {"k": READY} == backend.get_many(["k"])

    clock.value += 0.001
    assert {} == backend.get_many(["k"])
    assert [] == [*backend.scan()]
    assert put(backend, "k", OTHER, if_match=READY) is False
    assert put(backend, "k", OTHER, unless=ANY, expires=1) is True
    clock.value += 1
    assert 0 == backend.delete_many(["k"])


def test_purging_removes_what_is_expired(backend, clock):
    """
    Purging counts what it removed, and leaves the rest.
    """
    put(backend, "a", READY, expires=1)
    put(backend, "b", READY, expires=2)
    put(backend, "c", READY)
    clock.value += 1

    assert (1, 0) == (backend.purge(), backend.purge())
    assert {"b", "c"} == {*backend._space.records}


def test_writes_remove_what_is_expired(backend, clock):
    """
    Without any purge expired records do not pile up.
    """
    for number in range(5 * backend.SWEEP_EVERY):
        put(backend, str(number), READY, expires=1)
        clock.value += 0.01

    assert len(backend._space.records) <= backend.SWEEP_EVERY + 100


def test_deleting_counts_what_was_there(backend):
    """
    Each record is counted once, absent keys not.
    """
    put(backend, "a", READY)
    put(backend, "b", READY)

    assert 2 == backend.delete_many(["a", "b", "a", "absent"])
    assert 0 == backend.delete_many(["a"])


def test_scanning_by_prefix(backend):
    """
    The keys that start with the prefix are found, the prefix itself too.
    """
    for key in ("a", "ab", "b", "a\x00"):
        put(backend, key, READY)

    assert ["a", "a\x00", "ab"] == sorted(backend.scan("a"))
    assert 4 == len([*backend.scan()])


def test_scanning_while_it_changes(backend):
    """
    Records that come and go during a scan do not break it.
    """
    for number in range(100):
        put(backend, str(number), READY)

    for key in backend.scan():
        backend.delete_many([key])
        put(backend, f"new {key}", READY)

    assert 100 == len(backend._space.records)


def test_names_are_stores(clock):
    """
    The same name is the same store, and another name or a backend of its own is another.
    """
    for url in ("memory://", "memory://one"):
        first, second = (MemoryBackend.from_url(URL(url)) for _ in range(2))
        put(first, "k", READY)
        assert {"k": READY} == second.get_many(["k"])
        assert {} == MemoryBackend.from_url(URL("memory://two")).get_many(["k"])
        assert {} == MemoryBackend().get_many(["k"])
        second.delete_many(["k"])


def test_options_do_not_exist():
    """
    There is nothing to set.
    """
    with pytest.raises(ConfigurationError, match="memory:// has no option 'size'"):
        MemoryBackend.from_url(URL("memory://?size=5"))
    with pytest.raises(ConfigurationError, match="memory:// has no option 'size'"):
        MemoryBackend.from_url(URL("memory://"), options={"size": 5})


def test_capabilities():
    """
    It pushes, expires, scans and keeps events, and no other process sees it.
    """
    expected = Capability.PUSH | Capability.TTL | Capability.SCAN | Capability.EVENTS
    assert expected == MemoryBackend.capabilities


def test_writes_ring(backend):
    """
    A write rings for those who watch its key, on any backend of the store, until they leave.
    """
    with backend.watch(["a"]) as bell, backend.watch() as other:
        other.add(["b"])
        for key in ("a", "b", "c"):
            put(backend, key, READY)

        assert ({"a"}, {"b"}) == ({*bell.wait(60)}, {*other.wait(60)})
    put(backend, "a", UNREADY)

    assert [] == [*bell.wait(0)]
    assert frozenset() == backend._space.bells


def test_refused_writes_do_not_ring(backend):
    """
    What changed nothing wakes nobody.
    """
    put(backend, "a", READY)
    with backend.watch(["a"]) as bell:
        put(backend, "a", OTHER)

        assert [] == [*bell.wait(0)]


def test_one_of_many_threads_wins(backend):
    """
    However many threads store at once, one of them is told that its record is the one.
    """
    start = threading.Barrier(16)
    won = []

    def store(number):
        start.wait()
        for key in range(50):
            if put(backend, str(key), b'{"status": "SUCCESS", "result": %d}' % number):
                won.append((key, number))

    threads = [threading.Thread(target=store, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 50 == len(won)
    for key, number in won:
        assert backend.get_many([str(key)])[str(key)].endswith(b" %d}" % number)


FORK = """
import os, threading
from coatcheck._embedded.memory import MemoryBackend, _spaces
backend = MemoryBackend("x")
backend.put("k", b'{"status": "SUCCESS"}', unless=frozenset(), expires=None)
with backend.watch(["k"]) as bell, backend._space.lock:
    child = os.fork()
    if child == 0:
        backend.put("k", b'{"status": "STARTED"}', unless=frozenset(), expires=None)
        os._exit(len(backend._space.bells) + len(backend.get_many(["k"])))
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), backend.get_many(["k"]))
"""


def test_a_forked_child_has_a_lock_of_its_own():
    """
    A child that was forked while the lock was held goes on, with a copy of the records.
    """
    command = [sys.executable, "-c", FORK]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60)

    assert b"1 {'k': b'{\"status\": \"SUCCESS\"}'}\n" == done.stdout


def test_after_a_fork_nothing_is_shared(backend):
    """
    What the child makes anew: the lock, which may be held, and the bells, whose threads are gone.
    """
    put(backend, "k", READY)
    space = backend._space
    with backend.watch(["k"]), space.lock:
        space.after_fork()

        assert put(backend, "x", READY) is True
        assert frozenset() == space.bells
    assert {"k": READY} == backend.get_many(["k"])
