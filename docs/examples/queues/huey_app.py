"""
Huey: an instance whose results coatcheck keeps, at the URL in COATCHECK_URL.
"""

from huey import MemoryHuey

from coatcheck_queues.huey import attach

huey = MemoryHuey(immediate=True)  # or another one, such as RedisHuey
results = attach(huey, expires=86_400)


@huey.task()
def divide(first: float, second: float) -> float:
    """Return the quotient."""
    return first / second


def main() -> None:
    """Send two tasks, and wait for both."""
    good, bad = divide(6, 3), divide(1, 0)
    print(results.AsyncResult(good.id).get(timeout=10))
    try:
        results.AsyncResult(bad.id).get(timeout=10)
    except ZeroDivisionError as error:
        print(error)


if __name__ == "__main__":
    main()
