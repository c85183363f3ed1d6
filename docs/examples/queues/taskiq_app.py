"""
Taskiq: a broker whose results coatcheck keeps, at the URL in COATCHECK_URL.
"""

import asyncio

from taskiq import InMemoryBroker

from coatcheck_queues.taskiq import CoatcheckBackend

backend = CoatcheckBackend(expires=86_400)
broker = backend.attach(InMemoryBroker())  # or another broker, such as that of taskiq-redis


@broker.task
async def divide(first: float, second: float) -> float:
    """Return the quotient."""
    return first / second


async def main() -> None:
    """Send two tasks, and wait for both."""
    await broker.startup()
    good, bad = await divide.kiq(6, 3), await divide.kiq(1, 0)
    print(await backend.of(good).get(timeout=10))
    try:
        await backend.of(bad).get(timeout=10)
    except ZeroDivisionError as error:
        print(error)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
