"""
APScheduler 3: a scheduler whose results coatcheck keeps, at the URL in COATCHECK_URL.
"""

from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler

from coatcheck_queues.apscheduler import attach, run_id

scheduler = BackgroundScheduler(timezone=UTC)
results = attach(scheduler, expires=86_400)


def divide(first: float, second: float) -> float:
    """Return the quotient."""
    return first / second


def main() -> None:
    """Schedule two runs, and wait for both."""
    scheduler.start()
    when = datetime.now(UTC) + timedelta(seconds=0.1)
    scheduler.add_job(divide, "date", run_date=when, args=[6, 3], id="good")
    scheduler.add_job(divide, "date", run_date=when, args=[1, 0], id="bad")
    print(results.AsyncResult(run_id("good", when)).get(timeout=10))
    try:
        results.AsyncResult(run_id("bad", when)).get(timeout=10)
    except ZeroDivisionError as error:
        print(error)
    scheduler.shutdown()


if __name__ == "__main__":
    main()
