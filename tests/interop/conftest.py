"""
Stores for what Celery and coatcheck leave there for each other.
"""

from __future__ import annotations

import functools
import itertools
from contextlib import closing

import pytest
from support.captured import (
    CapturedFiles,
    CapturedMemcached,
    CapturedMongo,
    CapturedRabbitMQ,
    CapturedRedis,
)
from support.memcached import MemcachedServer
from support.mongo import MongoServer
from support.rabbitmq import RabbitMQ
from support.real_celery import REQUIREMENTS, Sides, installed
from support.redis import RedisServer
from support.sql import MariaDBServer, PostgreSQLServer

DATABASES = ("postgresql", "mariadb", "sqlite")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """
    Leave out what says nothing. Celery up to 5.6 reads no row of ours, see
    `test_real_celery_databases`; bytes in a column are the same in all databases.
    """
    items[:] = [item for item in items if not _is_left_out(item)]


def _is_left_out(item):
    params = item.callspec.params if hasattr(item, "callspec") else {}
    if params.get("place") not in DATABASES:
        return False
    plain = params.get("both", "json") == "json" and "compression" not in params
    return params.get("celery_python", "5.7") != "5.7" or not (plain or params["place"] == "sqlite")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    """One Redis for all of these tests."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def captured_redis(redis_server):
    """That Redis, for what was captured."""
    with redis_server.client as client:
        yield CapturedRedis(client, redis_server.url)
        client.flushdb()


@pytest.fixture(scope="session")
def memcached_server():
    """One Memcached for all of these tests."""
    with MemcachedServer() as server:
        yield server


@pytest.fixture
def captured_memcached(memcached_server):
    """That Memcached, for what was captured."""
    with closing(CapturedMemcached(memcached_server.port)) as captured:
        yield captured


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory):
    """One MongoDB for all of these tests."""
    with MongoServer(tmp_path_factory.mktemp("mongo")) as server:
        yield server


@pytest.fixture
def captured_mongodb(mongo_server):
    """That MongoDB, for what was captured."""
    return CapturedMongo(mongo_server.client, f"{mongo_server.url}-captured")


@pytest.fixture(scope="session")
def rabbitmq():
    """One broker for all of these tests."""
    with RabbitMQ() as server:
        yield server


@pytest.fixture
def captured_rpc(rabbitmq):
    """That broker, for what was captured."""
    with closing(CapturedRabbitMQ(rabbitmq)) as captured:
        yield captured


@pytest.fixture
def captured_filesystem(tmp_path):
    """A directory, for what was captured."""
    return CapturedFiles(tmp_path / "results")


@pytest.fixture(scope="session", params=list(REQUIREMENTS))
def celery_python(request):
    """The Python of an environment with a real Celery, one after the other."""
    return installed(request.param, request.config.cache.mkdir("celery"))


@pytest.fixture(scope="session")
def newest_celery(request):
    """The Python of an environment with the newest of them."""
    return installed("5.7", request.config.cache.mkdir("celery"))


@pytest.fixture(scope="session")
def newest(newest_celery, tmp_path_factory):
    """Makes processes that have the newest Celery, by its settings."""
    sides = Sides(newest_celery, tmp_path_factory.mktemp("newest"))
    yield sides
    sides.stop()


@pytest.fixture(scope="session")
def celery(celery_python, tmp_path_factory):
    """Makes processes that have a real Celery, by its settings."""
    sides = Sides(celery_python, tmp_path_factory.mktemp("celery"))
    yield sides
    sides.stop()


@pytest.fixture(scope="session")
def new_database(request, tmp_path_factory):
    """Makes databases, of which it returns the URLs; a server starts when it is first needed."""
    started = {}

    def new(kind):
        name = f"interop{next(numbers)}"
        if kind == "sqlite":
            return f"db+sqlite:///{tmp_path_factory.getbasetemp() / name}.db"
        if kind not in started:
            server = {"postgresql": PostgreSQLServer, "mariadb": MariaDBServer}[kind]()
            request.addfinalizer(server.__exit__)
            started[kind] = server.start()
        started[kind].execute(f"CREATE DATABASE {name}")
        scheme = {"postgresql": "db+postgresql+psycopg", "mariadb": "db+mysql+pymysql"}[kind]
        return f"{scheme}://{started[kind].url.partition('://')[2].replace('/app', f'/{name}')}"

    numbers = itertools.count()
    return new


@pytest.fixture(scope="session")
def database_urls(new_database):
    """One database of each kind."""
    return functools.cache(new_database)


@pytest.fixture(scope="module", params=DATABASES)
def database_url(request, new_database):
    """The URL of a new database of each kind."""
    return new_database(request.param)


@pytest.fixture(params=["redis", "memcached", "mongodb", "filesystem", *DATABASES])
def place(request, tmp_path):
    """The URL of an empty store, as Celery and coatcheck both take it."""
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        with server.client as client:
            client.flushdb()
        return server.url
    if request.param == "memcached":
        return f"cache+memcached://{request.getfixturevalue('memcached_server').place}/"
    if request.param == "mongodb":
        return request.getfixturevalue("mongo_server").url
    if request.param in DATABASES:
        return request.getfixturevalue("database_urls")(request.param)
    (tmp_path / "shared").mkdir()
    return f"file://{tmp_path / 'shared'}"
