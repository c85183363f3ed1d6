"""
A broker, and clients of both colours.
"""

from __future__ import annotations

import uuid

import pytest
from support.rabbitmq import RabbitMQ

import coatcheck
import coatcheck.aio

#: What of the contract is run by default for asyncio, where the line and the mailbox are the same.
SHORT = {
    "test_first_ready_wins", "test_if_match", "test_many", "test_delete_many", "test_scan", "test_rings",
    "test_watch_is_a_barrier", "test_wait_before_store", "test_as_completed", "test_store_is_away",
    "test_cancelled_everywhere", "test_cancelled_store", "test_close_gives_up_all", "test_lost_worker",
    "test_one_loop_after_the_other", "test_loops_side_by_side", "test_state_and_value_are_one",
}  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave most of the contract for asyncio to `nox -s long`."""
    for item in items:
        of = item.cls.__name__ if item.cls is not None else ""
        if of == "TestRPCAio" and item.originalname not in SHORT:
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
