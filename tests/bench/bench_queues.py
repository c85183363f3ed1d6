"""
What a task costs its worker: without results, with the queue's own result backend, and with coatcheck's adapter.

All contenders of a queue take turns in one run, on one Redis. Procrastinate keeps no results of its own; it
runs on PostgreSQL. Prints a table of microseconds for each task, and the delay of wake-ups.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from harness import in_turns, timed  # noqa: E402
from support.redis import RedisServer  # noqa: E402
from support.sql import PostgreSQLServer  # noqa: E402

NONE, OWN, OURS, QUIET = "none", "own", "coatcheck", "coatcheck, heartbeat=None"
#: Runs that many tasks, and returns how long they took.
Contender = Callable[[int], float]


def dramatiq_contenders(url: str, tasks: int, stack: ExitStack) -> Mapping[str, Contender]:
    """Return the calls that Dramatiq's worker makes round each actor."""
    from dramatiq import actor
    from dramatiq.broker import MessageProxy
    from dramatiq.brokers.stub import StubBroker
    from dramatiq.results import Results
    from dramatiq.results.backends import RedisBackend

    from coatcheck_queues.dramatiq import attach

    def made(attached: Callable[[Any], object]) -> Contender:
        broker = StubBroker()
        attached(broker)
        nothing = actor(int, broker=broker, actor_name="nothing")

        def run(number: int) -> float:
            messages = [MessageProxy(nothing.message()) for _ in range(tasks)]

            def all_of_them() -> None:
                for message in messages:
                    broker.emit_before("process_message", message)
                    broker.emit_after("process_message", message, result=nothing())

            return timed(all_of_them)

        return run

    def ours(**options: Any) -> Callable[[Any], object]:
        def attached(broker: Any) -> None:
            backend = attach(broker, url, store_results=True, **options)
            stack.callback(backend.results.close)

        return attached

    own = Results(backend=RedisBackend(url=url), store_results=True)
    return {
        NONE: made(lambda broker: None),
        OWN: made(lambda broker: broker.add_middleware(own)),
        OURS: made(ours()),
        QUIET: made(ours(heartbeat=None)),
    }


def taskiq_contenders(url: str, tasks: int, stack: ExitStack) -> Mapping[str, Contender]:
    """Return the receiver of Taskiq's worker, with messages that are there already."""
    from taskiq import InMemoryBroker
    from taskiq.message import TaskiqMessage
    from taskiq.receiver import Receiver
    from taskiq_redis import RedisAsyncResultBackend

    from coatcheck_queues.taskiq import CoatcheckBackend

    logging.disable(logging.WARNING)
    loop = stack.enter_context(asyncio.Runner())

    async def nothing() -> int:
        return 0

    def made(attached: Callable[[Any], Any]) -> Contender:
        broker = attached(InMemoryBroker())
        broker.register_task(nothing, task_name="nothing")
        receiver = loop.run(started(broker, Receiver))

        def run(number: int) -> float:
            messages = [
                broker.formatter.dumps(
                    TaskiqMessage(
                        task_id=broker.id_generator(),
                        task_name="nothing",
                        labels={},
                        args=[],
                        kwargs={},
                    )
                ).message
                for _ in range(tasks)
            ]

            async def all_of_them() -> None:
                for message in messages:
                    await receiver.callback(message)

            return timed(lambda: loop.run(all_of_them()))

        stack.callback(lambda: loop.run(broker.shutdown()))
        return run

    async def started(broker: Any, receiver: Any) -> Any:
        await broker.startup()
        return receiver(broker)

    return {
        NONE: made(lambda broker: broker),
        OWN: made(lambda broker: broker.with_result_backend(RedisAsyncResultBackend(url))),
        OURS: made(CoatcheckBackend(url).attach),
        QUIET: made(CoatcheckBackend(url, heartbeat=None).attach),
    }


def huey_contenders(url: str, tasks: int, stack: ExitStack) -> Mapping[str, Contender]:
    """Return what Huey's consumer calls for each task."""
    from huey import RedisHuey

    from coatcheck_queues.huey import attach

    logging.disable(logging.WARNING)

    def made(*, results: bool = False, **options: Any) -> Contender:
        huey = RedisHuey(url=url, results=results, store_none=True)
        nothing = huey.task(name=f"nothing{len(options)}{results}")(lambda: 0)
        if options:
            stack.callback(attach(huey, url, **options).close)

        def run(number: int) -> float:
            made = [nothing.s() for _ in range(tasks)]
            return timed(lambda: [huey.execute(task) for task in made])

        return run

    return {
        NONE: made(),
        OWN: made(results=True),
        OURS: made(heartbeat=10),
        QUIET: made(heartbeat=None),
    }


def rq_contenders(url: str, tasks: int, stack: ExitStack) -> Mapping[str, Contender]:
    """Return RQ's worker without forks, on a queue that is full."""
    import redis
    import rq

    from coatcheck_queues.rq import SimpleWorker

    connection = stack.enter_context(redis.Redis.from_url(url))

    def made(worker: type, ttl: int) -> Contender:
        def run(number: int) -> float:
            queue = rq.Queue(connection=connection)
            queue.enqueue_many(
                [rq.Queue.prepare_data("builtins.int", result_ttl=ttl) for _ in range(tasks)]
            )
            made = worker([queue], connection=connection)
            return timed(lambda: made.work(burst=True, logging_level="ERROR"))

        return run

    class Stores(SimpleWorker):
        coatcheck_results = url

    class Quiet(Stores):
        coatcheck_heartbeat = None

    return {
        NONE: made(rq.SimpleWorker, 0),
        OWN: made(rq.SimpleWorker, 500),
        OURS: made(Stores, 0),
        QUIET: made(Quiet, 0),
    }


def procrastinate_contenders(url: str, tasks: int, stack: ExitStack) -> Mapping[str, Contender]:
    """Return Procrastinate's worker, on a table that is full."""
    from procrastinate import App, PsycopgConnector

    from coatcheck_queues.procrastinate import attach

    loop = stack.enter_context(asyncio.Runner())

    def made(**options: Any) -> Contender:
        app = App(connector=PsycopgConnector(conninfo=url))
        app.task(name="nothing")(nothing)
        if options:
            jobs = attach(app, url, **options)
            stack.callback(lambda: loop.run(jobs.results.close()))
        loop.run(app.connector.open_async())
        stack.callback(lambda: loop.run(app.connector.close_async()))
        if not options:
            loop.run(app.schema_manager.apply_schema_async())

        def run(number: int) -> float:
            loop.run(app.tasks["nothing"].batch_defer_async(*[{} for _ in range(tasks)]))
            work = {"wait": False, "install_signal_handlers": False, "listen_notify": False}
            return timed(lambda: loop.run(app.run_worker_async(**work)))

        return run

    async def nothing() -> int:
        return 0

    return {NONE: made(), OURS: made(heartbeat=10), QUIET: made(heartbeat=None)}


def wakeups(url: str, count: int) -> Iterator[tuple[str, float]]:
    """Iterate over the median delays of a plain wait, of the adapter's, and of Dramatiq's own."""
    from dramatiq import Message
    from dramatiq.results.backends import RedisBackend

    from coatcheck_queues.dramatiq import CoatcheckBackend

    ours, own = CoatcheckBackend(url), RedisBackend(url=url)
    wait: dict[str, tuple[Any, Callable[[Any], Any]]] = {
        "plain": (ours, lambda message: ours.results.wait_for(message.message_id, timeout=10)),
        "adapter": (ours, lambda message: ours.get_result(message, block=True)),
        "Dramatiq": (own, lambda message: own.get_result(message, block=True)),
    }

    def delay(backend: Any, waits: Callable[[Any], Any]) -> float:
        message: Message[Any] = Message("default", "nothing", (), {}, {})
        ended: list[float] = []
        waiter = threading.Thread(
            target=lambda: (waits(message), ended.append(time.perf_counter()))
        )
        waiter.start()
        time.sleep(0.02)
        begun = time.perf_counter()
        backend.store_result(message, 0, 60_000)
        waiter.join()
        return ended[0] - begun

    contenders = {who: lambda _, made=made: delay(*made) for who, made in wait.items()}
    for who, samples in in_turns(contenders, count, warm_up=3).items():
        yield who, statistics.median(samples)
    ours.results.close()


QUEUES = {
    "dramatiq": dramatiq_contenders,
    "taskiq": taskiq_contenders,
    "huey": huey_contenders,
    "rq": rq_contenders,
    "procrastinate": procrastinate_contenders,
}


def main() -> int:
    """Print a row for each queue."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("queues", nargs="*", default=[*QUEUES, "wake"], help="some of them")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", help="ignored: this bench has no targets")
    arguments = parser.parse_args()
    tasks, rounds = (20, 5) if arguments.quick else (50, 20)
    with tempfile.TemporaryDirectory() as directory, RedisServer(Path(directory)) as redis:
        for name, contenders in QUEUES.items():
            if name not in arguments.queues:
                continue
            with ExitStack() as stack:
                on_redis = name != "procrastinate"
                url = redis.url if on_redis else stack.enter_context(PostgreSQLServer()).url
                samples = in_turns(contenders(url, tasks, stack), rounds)
            # Of the best rounds: others of the machine may have disturbed the rest.
            best = {
                who: statistics.mean(sorted(found)[:3]) / tasks for who, found in samples.items()
            }
            row = " ".join(f"{who}: {1e6 * each:.0f} us;" for who, each in best.items())
            print(f"{name:<14} {row}", flush=True)
        if "wake" in arguments.queues:
            for who, delay in wakeups(redis.url, 10 if arguments.quick else 200):
                print(f"wake-up {who}: {1e3 * delay:.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
