"""
Dramatiq: a broker whose results coatcheck keeps, at the URL in COATCHECK_URL.
"""

import dramatiq
from dramatiq.brokers.stub import StubBroker

from coatcheck_queues.dramatiq import attach

broker = StubBroker()  # or another broker
backend = attach(broker, store_results=True, result_ttl=86_400_000)
dramatiq.set_broker(broker)


@dramatiq.actor(max_retries=1, min_backoff=10)
def divide(first: float, second: float) -> float:
    """Return the quotient."""
    return first / second


def main() -> None:
    """Send two messages, and wait for both."""
    worker = dramatiq.Worker(broker, worker_timeout=100)  # or the command `dramatiq`, elsewhere
    worker.start()
    good, bad = divide.send(6, 3), divide.send(1, 0)
    print(good.get_result(block=True))
    try:
        backend.of(bad).get(timeout=10)
    except ZeroDivisionError as error:
        print(error)
    worker.stop()


if __name__ == "__main__":
    main()
