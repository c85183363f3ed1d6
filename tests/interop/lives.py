"""
Programs that use results in threads, forks and loops, and end: each prints "ok" as its last line.

They are run by test_threads_forks_loops.py as `python -W error lives.py NAME URL`. Warnings
that CPython itself gives of a fork among threads are let through where one of its waits is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import sys
import threading
import time
import warnings

PATIENCE = 60.0


def fork_is_warned_of() -> None:
    """Let CPython's own warning pass, where a thread of a wait lives."""
    warnings.filterwarnings("ignore", ".*use of fork", DeprecationWarning)


def open_things() -> tuple[int, int]:
    """Return how many threads and file descriptors there are."""
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


def until(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def all_closed(before) -> None:
    """Wait until there is no more open than *before*."""
    until(lambda: all(now <= then for now, then in zip(open_things(), before, strict=False)))


# -- threads --------------------------------------------------------------------------------------


def threads(url: str) -> None:
    """Eight threads wait a thousand times each, for what another stores."""
    import coatcheck

    before = open_things()
    with coatcheck.by_url(url) as results:
        errors: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for n in range(1000):
                    id_ = f"t{number}-{n}"
                    if n % 10:
                        results.store_result(id_, n)
                    else:
                        threading.Thread(target=results.store_result, args=(id_, n)).start()
                    assert n == results.wait_for(id_, PATIENCE).result
            except BaseException as error:
                errors.append(error)

        workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not errors, errors
    all_closed(before)


# -- forks ----------------------------------------------------------------------------------------


def child_works(results, number: int) -> int:
    """Store, read and wait in a child; return its exit status."""
    try:
        id_ = f"child-{number}"
        assert results.store_result(id_, number)
        assert number == results.get_result(id_)
        assert number == results.wait_for(id_, PATIENCE).result
        assert 1 == results.wait_for("before", PATIENCE).result
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1
    return 0


def forked(results, number: int) -> int:
    """Fork a child that works; return its id."""
    pid = os.fork()
    if pid == 0:
        os._exit(child_works(results, number))
    return pid


def prefork(url: str) -> None:
    """Sixteen children of a process that used its results, as those of gunicorn with preload."""
    import coatcheck

    with coatcheck.by_url(url) as results:
        results.store_result("before", 1)
        results.wait_for("before", PATIENCE)
        # The hub stays for a second after the last wait; without one there is no thread to warn of.
        until(lambda: threading.active_count() == 1)
        children = [forked(results, number) for number in range(16)]
        assert {0} == {os.waitpid(pid, 0)[1] for pid in children}
        if not url.startswith("memory"):
            assert [*range(16)] == [
                results.wait_for(f"child-{n}", PATIENCE).result for n in range(16)
            ]
        assert results.store_result("parent", 2)
        assert 2 == results.wait_for("parent", PATIENCE).result


def fork_during_waits(url: str) -> None:
    """Children of a process with open waits, which goes on with them."""
    import coatcheck

    fork_is_warned_of()
    with coatcheck.by_url(url) as results:
        results.store_result("before", 1)
        got: list[object] = []
        waits = [
            threading.Thread(
                target=lambda n=n: got.append(results.wait_for(f"w{n}", PATIENCE).result)
            )
            for n in range(8)
        ]
        for wait in waits:
            wait.start()
        children = [forked(results, number) for number in range(8)]
        assert {0} == {os.waitpid(pid, 0)[1] for pid in children}
        for n in range(8):
            results.store_result(f"w{n}", n)
        for wait in waits:
            wait.join(PATIENCE)
        assert [*range(8)] == sorted(got)


def spawned(url: str, number: int) -> None:
    import coatcheck

    with coatcheck.by_url(url) as results:
        sys.exit(child_works(results, number))


RESULTS = None


def inherited(number: int) -> None:
    sys.exit(child_works(RESULTS, number))


def processes(url: str) -> None:
    """Processes of multiprocessing: new ones by URL, forked ones with their parent's object."""
    global RESULTS
    import coatcheck

    RESULTS = coatcheck.by_url(url)
    RESULTS.store_result("before", 1)
    RESULTS.wait_for("before", PATIENCE)
    until(lambda: threading.active_count() == 1)
    kinds = [("fork", inherited, ())]
    if not url.startswith("memory"):
        kinds.append(("spawn", spawned, (url,)))
    for kind, work, arguments in kinds:
        context = multiprocessing.get_context(kind)
        offset = 10 if kind == "fork" else 20
        started = [context.Process(target=work, args=(*arguments, offset + n)) for n in range(2)]
        for process in started:
            process.start()
        for process in started:
            process.join(PATIENCE)
            assert 0 == process.exitcode, process.exitcode
    RESULTS.close()


def running_fork(url: str) -> None:
    """A child that is forked while a heart beats may tell of progress, and does not beat."""
    import coatcheck

    fork_is_warned_of()
    with coatcheck.by_url(url) as results:
        with results.running("t", heartbeat=0.001) as task:
            for _ in range(20):
                pid = os.fork()
                if pid == 0:
                    status = 1
                    try:
                        task.progress(1)
                        status = 0
                    finally:
                        os._exit(status)
                assert 0 == os.waitpid(pid, 0)[1]
        assert task.won


# -- loops ----------------------------------------------------------------------------------------


def loops(url: str) -> None:
    """Two loops in two threads share one object."""
    import coatcheck.aio

    before = open_things()
    results = coatcheck.aio.by_url(url)

    async def work(number: int) -> None:
        async def one(n: int) -> None:
            id_ = f"{number}-{n}"
            wait = asyncio.create_task(results.wait_for(id_, PATIENCE))
            await results.store_result(id_, n)
            assert n == (await wait).result

        for start in range(0, 500, 50):
            await asyncio.gather(*(one(n) for n in range(start, start + 50)))
        await results.close()

    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            asyncio.run(work(number))
        except BaseException as error:
            errors.append(error)

    runners = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert not errors, errors
    all_closed(before)


def one_loop_after_another(url: str) -> None:
    """`asyncio.run` again and again with one object, never closed but by the last."""
    import coatcheck.aio

    before = open_things()
    results = coatcheck.aio.by_url(url)

    async def work(n: int) -> None:
        await results.store_result(f"t{n}", n)
        assert n == (await results.wait_for(f"t{n}", PATIENCE)).result
        if n == 9:
            await results.close()

    for n in range(10):
        asyncio.run(work(n))
    all_closed(before)


# -- the end --------------------------------------------------------------------------------------


def shutdown(url: str) -> None:
    """The interpreter ends while daemon threads wait."""
    import coatcheck

    results = coatcheck.by_url(url)
    for n in range(8):
        threading.Thread(target=results.wait_for, args=(f"never{n}",), daemon=True).start()
    stream = results.as_completed(["never"], timeout=0.2)
    with contextlib.suppress(coatcheck.WaitTimeoutError):
        next(stream)
    results.store_result("t", 1)


def shutdown_in_stream(url: str) -> None:
    """The interpreter ends with a generator that was begun and never closed."""
    import coatcheck

    results = coatcheck.by_url(url)
    results.store_result("a", 1)
    global stream
    stream = results.as_completed(["a", "never"])
    assert 1 == next(stream).result


def shutdown_while_running(url: str) -> None:
    """The interpreter ends while a heart beats."""
    import coatcheck

    results = coatcheck.by_url(url)
    task = results.running("t", heartbeat=0.01)
    task.__enter__()
    until(lambda: results.get_task_meta("t").heartbeat["beat"] > 2)


def aio_shutdown(url: str) -> None:
    """The loop ends while tasks wait, and nobody closed anything."""
    import coatcheck.aio

    async def work() -> None:
        results = coatcheck.aio.by_url(url)
        waits = [asyncio.create_task(results.wait_for(f"never{n}")) for n in range(8)]
        await results.store_result("t", 1)
        await asyncio.wait(waits, timeout=0.2)
        await results.running("r", heartbeat=0.01).__aenter__()
        await asyncio.sleep(0.05)

    asyncio.run(work())


def greenlets(url: str) -> None:
    """A process that gevent patched: greenlets wait, and one of them stores."""
    from gevent import monkey

    monkey.patch_all()
    import gevent

    import coatcheck

    with coatcheck.by_url(url) as results:
        waits = [gevent.spawn(results.wait_for, f"t{n}", PATIENCE) for n in range(50)]
        gevent.sleep(0.05)
        stored = gevent.spawn(lambda: [results.store_result(f"t{n}", n) for n in range(50)])
        gevent.joinall([stored, *waits], timeout=PATIENCE)
        assert [True] * 50 == stored.value, stored
        assert [*range(50)] == [(wait.value and wait.value.result) or 0 for wait in waits]
        assert all(wait.successful() for wait in waits)
        with contextlib.suppress(coatcheck.WaitTimeoutError):
            results.wait_for("never", 0.1)
        with results.running("r", heartbeat=0.01) as task:
            until(lambda: results.get_task_meta("r").heartbeat["beat"] > 1)
        assert task.won


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
    print("ok", flush=True)
