"""
A broker, and workers for each kind of store; all of them live as long as the tests.
"""

from __future__ import annotations

import pytest
from support.celery_tasks import application
from support.celery_worker import Worker
from support.memcached import MemcachedServer
from support.redis import RedisServer

#: The pool of the worker, and where results are.
KINDS = {
    "prefork-redis": ("prefork", "coatcheck+{redis}/1"),
    "solo-sqlite": ("solo", "coatcheck+sqlite:///{directory}/results.db"),
    "threads-files": ("threads", "coatcheck+file://{directory}/results"),
    "prefork-memcached": ("prefork", "coatcheck+{memcached}"),
}


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def memcached_server():
    with MemcachedServer() as server:
        yield server


@pytest.fixture(scope="session", params=list(KINDS))
def running(request, redis_server, memcached_server, tmp_path_factory):
    """A worker: pool, broker, backend."""
    pool, backend = KINDS[request.param]
    directory = tmp_path_factory.mktemp(request.param)
    server = f"redis://127.0.0.1:{redis_server.port}"
    broker = f"{server}/{5 + list(KINDS).index(request.param)}"
    backend = backend.format(redis=server, directory=directory, memcached=memcached_server.url)
    with Worker(directory, broker, backend, pool) as worker:
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
