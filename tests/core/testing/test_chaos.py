"""
The fault suite notices broken stores.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

import coatcheck
from coatcheck._embedded.memory import MemoryBackend
from coatcheck.testing.chaos import Plan, Subject, run
from coatcheck.testing.faults import Fault, Timetable, stopped
from coatcheck.testing.lateness import Lateness
from coatcheck.testing.proxy import Proxy
from coatcheck.testing.threads import until

PLAN = Plan(operations=600, ids=6, longest_wait=0.2, pause=(0.0, 0.01))


class Last(MemoryBackend):
    """The last one wins, and all are told that they did."""

    PROTOCOL_VERSION = 1

    def put(self, key, value, *, unless, if_match=None, expires):
        super().put(key, value, unless=(), if_match=if_match, expires=expires)
        return True


class Forgetful(MemoryBackend):
    """A record is kept for as long as its id is waited for, or hardly longer."""

    PROTOCOL_VERSION = 1

    def get_many(self, keys):
        # The checks read in batches.
        return {} if len(keys) > 10 else super().get_many(keys)


class Foreign(MemoryBackend):
    """A driver whose errors are not mapped."""

    PROTOCOL_VERSION = 1

    def get_many(self, keys):
        if len(keys) == 1:
            raise ZeroDivisionError("not ours")
        return super().get_many(keys)


class Leaking(MemoryBackend):
    """A socket is opened for each store, and none is closed."""

    PROTOCOL_VERSION = 1

    leaked: list[socket.socket] = []

    def put(self, key, value, **options):
        if len(self.leaked) < 20:
            self.leaked.append(socket.socket())
        return super().put(key, value, **options)


def violations(kind, **options):
    """Return the violations of a run on a backend of *kind*."""
    with coatcheck.registered("broken", kind):
        return run(Subject("broken", "broken://chaos", **options), PLAN).violations


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Last, "several won"),
        (Forgetful, "was acknowledged, the store has nothing"),
        (Foreign, "an error that is not ours"),
        (Leaking, "descriptors were"),
    ],
)
def test_broken_backends_are_noticed(kind, text, monkeypatch):
    """A backend that breaks a promise is found out."""
    monkeypatch.setattr("coatcheck.testing.chaos.HANGS", 0.5)
    found = violations(kind)
    for leaked in Leaking.leaked:
        leaked.close()
    Leaking.leaked.clear()

    assert any(text in violation for violation in found), found


def test_a_sound_backend_is_not_blamed():
    """A run on a sound backend finds nothing, and counts its operations."""
    with coatcheck.registered("sound", MemoryBackend):
        report = run(Subject("sound", "sound://chaos"), PLAN)
    told = report.told()

    assert [] == report.violations
    assert report.ids == report.winners == report.confirmed
    assert told["operations"] >= 600
    assert told["threads_lateness"]["count"]
    assert told["tasks_lateness"]["count"]
    assert report.waits_timed_out


def test_a_fault_that_fails_is_told():
    """A fault that cannot be made is no fault that was survived."""
    fault = Fault("none", lambda: 1 / 0, longest=0.01)

    assert any("a fault failed" in found for found in violations(MemoryBackend, faults=[fault]))


def test_what_the_store_may_lose():
    """Faults that lose come every third time, and are remembered with their end."""
    happened: list[str] = []
    faults = [
        Fault("kept", lambda: happened.append("kept"), longest=0.0),
        Fault("lost", lambda: happened.append("lost"), loses=True, longest=0.0),
    ]
    timetable = Timetable(faults, pause=(0.0, 0.001))
    began = time.monotonic()
    with timetable.running():
        until(lambda: happened.count("lost") >= 2)
        with timetable.calm(patient=True) as calm:
            assert calm
            assert timetable.lost_since(began)
            assert not timetable.lost_since(time.monotonic())

    assert ["kept", "kept"] == happened[:2]
    assert timetable.counts["kept"] >= 6


def test_stopped_processes_go_on():
    """A process is stopped, and goes on afterwards."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        fault = stopped(lambda: [process.pid])
        fault.begin()
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert signal.SIGSTOP == os.WSTOPSIG(status)
        fault.end()
        process.communicate(b"\n")

        assert 0 == process.returncode
    finally:
        process.kill()
        process.communicate()


def test_lateness():
    """Quantiles are right to five percent, and the worst is exact."""
    lateness = Lateness()
    for n in range(1, 1001):
        lateness.add(n / 1000)

    assert 0.5 == pytest.approx(lateness.quantile(0.5), rel=0.06)
    assert 0.99 == pytest.approx(lateness.quantile(0.99), rel=0.06)
    assert (1000, 1.0) == (lateness.count, lateness.worst)
    assert 500 == pytest.approx(lateness.over(0.5), abs=30)
    assert 0 == Lateness().quantile(0.99)


@pytest.fixture
def echo():
    """A server that repeats its input."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer, suppress(ConnectionResetError):
                while data := peer.recv(1000):
                    peer.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_proxy_truncates(echo):
    """Of a truncated reply half comes through, and then the end."""
    with Proxy("127.0.0.1", echo) as proxy:
        proxy.truncate_replies(1)
        with socket.create_connection(("127.0.0.1", proxy.port), 30) as client:
            client.sendall(b"abcd")

            assert b"ab" == client.recv(4)
            assert b"" == client.recv(4)
        assert 1 == proxy.truncated


def test_proxy_resets(echo):
    """A reset connection gives its reader an error, and no end."""
    with Proxy("127.0.0.1", echo) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), 30) as client:
            client.sendall(b"abcd")
            assert b"abcd" == client.recv(4)
            proxy.reset()

            with pytest.raises(ConnectionResetError):
                client.recv(4)
