"""
Tasks of Celery, Dramatiq and Taskiq, awaited together. The store is the one that COATCHECK_URL names.

The workers run in this program, so that it needs no server.
"""

import asyncio
import os

import dramatiq
from celery import Celery
from celery.contrib.testing.worker import start_worker
from dramatiq.brokers.stub import StubBroker
from taskiq import InMemoryBroker

import coatcheck
from coatcheck_queues.dramatiq import attach
from coatcheck_queues.taskiq import CoatcheckBackend

URL = os.environ["COATCHECK_URL"]

celery = Celery("app", broker="memory://", backend=f"coatcheck+{URL}")
dramatiq_broker = StubBroker()
attach(dramatiq_broker, URL, store_results=True)
taskiq_broker = CoatcheckBackend(URL).attach(InMemoryBroker(await_inplace=True))


@celery.task(name="add")
def add(first: int, second: int) -> int:
    """Return the sum."""
    return first + second


@dramatiq.actor(broker=dramatiq_broker)
def multiply(first: int, second: int) -> int:
    """Return the product."""
    return first * second


@taskiq_broker.task(task_name="subtract")
async def subtract(first: int, second: int) -> int:
    """Return the difference."""
    return first - second


async def send_to_taskiq() -> str:
    """Send a task, and return its id."""
    await taskiq_broker.startup()
    task = await subtract.kiq(2, 3)
    await taskiq_broker.shutdown()
    return task.task_id


def main() -> None:
    """Send a task to each queue, and print the outcomes as they come."""
    ids = {
        add.delay(2, 3).id: "Celery",
        multiply.send(2, 3).message_id: "Dramatiq",
        asyncio.run(send_to_taskiq()): "Taskiq",
    }
    with coatcheck.by_url(URL) as results:
        for meta in results.as_completed(ids, timeout=30):
            print(ids[meta.task_id], meta.get())


if __name__ == "__main__":
    worker = dramatiq.Worker(dramatiq_broker, worker_timeout=100)
    worker.start()
    with start_worker(celery, pool="solo", perform_ping_check=False):
        main()
    worker.stop()
