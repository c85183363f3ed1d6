"""
A broker, and workers for each kind of store; all of them live as long as the tests.
"""

from __future__ import annotations

from string import Formatter

import pytest
from support.celery_tasks import application
from support.celery_worker import Worker
from support.memcached import MemcachedServer
from support.mongo import ReplicaSet
from support.redis import RedisServer

#: The pool of the worker, and where results are.
KINDS = {
    "prefork-redis": ("prefork", "coatcheck+{redis}"),
    "solo-sqlite": ("solo", "coatcheck+sqlite:///{directory}/results.db"),
    "threads-files": ("threads", "coatcheck+file://{directory}/results"),
    "prefork-memcached": ("prefork", "coatcheck+{memcached}"),
    "prefork-mongodb": ("prefork", "coatcheck+{mongodb}"),
}


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    """A Redis for messages."""
    with RedisServer(tmp_path_factory.mktemp("broker")) as server:
        yield server


@pytest.fixture(scope="session")
def redis(broker):
    """The URL of another database of it."""
    return broker.url.removesuffix("0") + "1"


@pytest.fixture(scope="session")
def memcached():
    """The URL of a Memcached."""
    with MemcachedServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def mongodb(tmp_path_factory):
    """The URL of a MongoDB that has change streams."""
    with ReplicaSet(tmp_path_factory.mktemp("mongo"), 1) as servers:
        yield servers.url


@pytest.fixture(scope="session", params=list(KINDS))
def running(request, broker, tmp_path_factory):
    """A worker: pool, broker, backend."""
    pool, template = KINDS[request.param]
    directory = tmp_path_factory.mktemp(request.param)
    needed = [name for _, name, *_ in Formatter().parse(template) if name and name != "directory"]
    servers = {name: request.getfixturevalue(name) for name in needed}
    backend = template.format(directory=directory, **servers)
    messages = broker.url.removesuffix("0") + str(5 + list(KINDS).index(request.param))
    with Worker(directory, messages, backend, pool) as worker:
        yield worker


@pytest.fixture
def app(running):
    """The application whose tasks a worker runs."""
    app = application(running.broker, running.backend)
    app.set_current()
    yield app
    app.backend.results.close()
    app.close()


@pytest.fixture
def t(app):
    """Its tasks."""
    return app.t


@pytest.fixture(scope="session")
def unit_server(tmp_path_factory):
    """A Redis without workers."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def backend_of(unit_server):
    """Makes backends of Celery's or ours, over an empty database, in an application each."""
    made = []

    def make(url="coatcheck+redis", **conf):
        url = f"{url}://127.0.0.1:{unit_server.port}/0" if "://" not in url else url
        app = application("memory://", url, **conf)
        made.append(app.backend)
        return app.backend

    yield make
    for backend in made:
        if hasattr(backend, "results"):
            backend.results.close()
        elif hasattr(backend, "client"):
            backend.result_consumer.stop()
            backend.result_consumer._pubsub = None  # finalisers of results use it
            backend.client.connection_pool.disconnect()
    unit_server.ask("FLUSHALL")
