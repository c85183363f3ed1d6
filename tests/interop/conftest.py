"""
Stores for what Celery and coatcheck leave there for each other.
"""

from __future__ import annotations

from contextlib import closing

import pytest
from support.captured import CapturedFiles, CapturedMemcached, CapturedMongo, CapturedRedis
from support.memcached import MemcachedServer
from support.mongo import MongoServer
from support.real_celery import REQUIREMENTS, Sides, installed
from support.redis import RedisServer


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


@pytest.fixture(params=["redis", "memcached", "mongodb", "filesystem"])
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
    (tmp_path / "shared").mkdir()
    return f"file://{tmp_path / 'shared'}"
