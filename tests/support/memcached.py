"""
Memcached servers that tests start and stop.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Self

from pymemcache.client.base import Client
from pymemcache.client.hash import HashClient

from .processes import free_port, serve, stopped

#: What Celery's backend gives to its client (celery/backends/cache.py).
CELERYS: Final[dict[str, Any]] = {"default_noreply": False, "connect_timeout": 5.0, "timeout": 5.0}


def binary() -> str:
    """
    Return the server's program.
    """
    found = shutil.which("memcached")
    if found is None:
        raise RuntimeError("memcached is not installed: apt-get install memcached")
    return found


def raw(client: Client, line: bytes) -> bytes:
    """
    Return the first line of the reply to a *line*, which pymemcache itself offers since 4.0.
    """
    client.version()  # connects
    client.sock.sendall(line.removesuffix(b"\r\n") + b"\r\n")
    reply = b""
    while b"\r\n" not in reply:
        reply += client.sock.recv(4096)
    return reply.partition(b"\r\n")[0]


@dataclass
class MemcachedServer:
    """
    One server, on TCP, or on a unix socket if *path* is given.
    """

    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    path: str | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}" if self.path is None else self.path

    @property
    def url(self) -> str:
        return f"memcached://{self.place}"

    @property
    def client(self) -> AbstractContextManager[Client]:
        """
        A way to the data round coatcheck, configured as Celery does.
        """
        return closing(Client(self.place, **CELERYS))

    def ask(self, *command: object) -> bytes:
        """
        Return the first line of the reply to a command.
        """
        line = b" ".join(str(word).encode() for word in command) + b"\r\n"
        with self.client as client:
            return raw(client, line)

    def start(self) -> MemcachedServer:
        where = ("-s", self.path) if self.path else ("-l", "127.0.0.1", "-p", str(self.port))
        user = ("-u", "root") if os.geteuid() == 0 else ()
        command = [binary(), *where, "-U", "0", "-t", "2", *user, *self.options]
        self.process = serve(command, stderr=subprocess.PIPE)
        self._until_ready()
        return self

    def _until_ready(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + 90
        while True:
            with suppress(OSError), self._probe():
                return
            if time.monotonic() > deadline or self.process.poll() is not None:
                assert self.process.stderr is not None
                raise RuntimeError(self.process.stderr.read().decode())
            time.sleep(0.02)

    def _probe(self) -> socket.socket:
        if self.path is None:
            return socket.create_connection(("127.0.0.1", self.port), 5)
        probe = socket.socket(socket.AF_UNIX)
        try:
            probe.connect(self.path)
        except BaseException:
            probe.close()
            raise
        return probe

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """
        A server that takes connections, and says nothing.
        """
        assert self.process is not None
        with stopped(self.process.pid):
            yield

    def kill(self) -> None:
        """
        Stop the server at once; `start` begins with an empty one at the same place.
        """
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


class MemcachedServers:
    """
    Several servers that share the keys.
    """

    def __init__(self, count: int = 3) -> None:
        self.servers = [MemcachedServer() for _ in range(count)]

    @property
    def url(self) -> str:
        return "cache+memcached://" + ";".join(server.place for server in self.servers) + "/"

    @property
    def client(self) -> AbstractContextManager[HashClient]:
        """
        A way to the data round coatcheck, which finds keys as Celery does.
        """
        return closing(HashClient([server.place for server in self.servers], **CELERYS))

    def of(self, name: str) -> MemcachedServer:
        """
        Return the server where Celery's client looks for the key *name*.
        """
        with self.client as client:
            host, port = client._get_client(name).server
        return next(server for server in self.servers if server.place == f"{host}:{port}")

    def __enter__(self) -> Self:
        try:
            for server in self.servers:
                server.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.kill()
