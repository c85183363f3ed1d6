"""
A gateway over a Redis, and results in it.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from support.gateway import Gateway, running_gateway
from support.redis import RedisServer

import coatcheck


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("gateway")
    with running_gateway(server.url, directory, "--writable") as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


@pytest.fixture
def results(server: RedisServer) -> Iterator[coatcheck.Results]:
    server.ask("FLUSHALL")
    with coatcheck.by_url(server.url) as results:
        yield results
