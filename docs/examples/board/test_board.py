"""
The proof of the backend: both sides of the contract, on a server of the test's own.
"""

import contextlib
import subprocess
import sys
from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from board import Connection, monotonic

from coatcheck.testing import AioBackendContract, BackendContract

SERVER = Path(__file__).with_name("server.py")


@pytest.fixture(scope="module")
def server():
    with subprocess.Popen(
        [sys.executable, SERVER, "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        yield int(process.stdout.readline().rpartition(" ")[2])
        process.kill()


class BoardProof:
    @pytest.fixture
    def url(self, server):
        self.port = server
        self.ask("delete", keys=self.ask("scan", prefix="")["keys"])
        return f"board://127.0.0.1:{server}"

    def ask(self, do, **arguments):
        with contextlib.closing(Connection("127.0.0.1", self.port)) as connection:
            return connection.ask(monotonic() + 10, do, **arguments)

    def raw_get(self, key):
        value = self.ask("get", keys=[key])["values"].get(key)
        return None if value is None else b64decode(value)

    def raw_put(self, key, value):
        self.ask("delete", keys=[key])
        self.ask("swap", key=key, value=b64encode(value).decode(), old=None, expires=None)

    def raw_ttl(self, key):
        return self.ask("life", key=key)["seconds"]

    def open_resources(self):
        return self.ask("count")["open"]

    def unreachable_url(self):
        return "board://127.0.0.1:1"

    def address(self):
        return "127.0.0.1", self.port

    def through(self, port):
        return f"board://127.0.0.1:{port}"


class TestBoard(BoardProof, BackendContract):
    pass


class TestBoardAio(BoardProof, AioBackendContract):
    pass
