"""
A broker, and clients of both colours.
"""

from __future__ import annotations

import uuid

import pytest
from support.contract import is_core
from support.rabbitmq import RabbitMQ

import coatcheck
import coatcheck.aio


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave most of the contract for asyncio to `nox -s long`."""
    for item in items:
        of = item.cls.__name__ if item.cls is not None else ""
        if of == "TestRPCAio" and not is_core(item):
            item.add_marker("long")


@pytest.fixture(scope="session")
def rabbitmq():
    """A broker for the tests that leave it as it is: each has queues of its own."""
    with RabbitMQ() as server:
        yield server


@pytest.fixture
def queue():
    """The name of a queue that nobody has."""
    return str(uuid.uuid4())


@pytest.fixture
def results(rabbitmq, queue):
    """Synchronous results that read."""
    with coatcheck.by_url(rabbitmq.url, queue=queue) as results:
        yield results


@pytest.fixture
async def aio_results(rabbitmq, queue):
    """Results for asyncio that read."""
    async with coatcheck.aio.by_url(rabbitmq.url, queue=queue) as results:
        yield results
