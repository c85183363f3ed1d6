"""
All stores at once, which programs and servers in environments of their own use.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.memcached import MemcachedServer
from support.mongo import ReplicaSet
from support.rabbitmq import RabbitMQ
from support.redis import RedisServer
from support.sql import MariaDBServer, PostgreSQLServer


@pytest.fixture(scope="session")
def place():
    """A directory that other users may write to, as those of pytest are not."""
    directory = Path(tempfile.mkdtemp(prefix="coatcheck-environments-"))
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def urls(place, tmp_path_factory):
    """The URL of a store of each kind, by its name."""
    tmp = tmp_path_factory.mktemp("servers")
    servers = {
        "redis": lambda: RedisServer(tmp / "redis"),
        "memcached": MemcachedServer,
        "mongodb": lambda: ReplicaSet(tmp / "mongo", count=1),
        "postgresql": PostgreSQLServer,
        "mariadb": MariaDBServer,
        "rabbitmq": RabbitMQ,
    }
    with ExitStack() as stack:
        with ThreadPoolExecutor(3) as threads:
            started = dict(
                zip(
                    servers,
                    threads.map(lambda new: stack.enter_context(new()), servers.values()),
                    strict=True,
                )
            )
        before = os.umask(0)  # one user's files must be open to another
        stack.callback(os.umask, before)
        yield {
            "memory": "memory://environments",
            "sqlite": f"sqlite:///{place}/results.db",
            "file": f"file://{place}/results",
            "db+sqlite": f"db+sqlite:///{place}/alchemy.db",
            **{name: server.url for name, server in started.items()},
        }
