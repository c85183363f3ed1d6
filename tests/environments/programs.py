"""
Programs that use one store in an environment of their own, and print "ok" as their last line.

They are run by test_programs.py as `python programs.py NAME URL`.
"""

from __future__ import annotations

import sys

#: These patch, and must come before all else.
if sys.argv[1] == "gevent":
    from gevent import monkey

    monkey.patch_all()
elif sys.argv[1] == "eventlet":
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import eventlet

        eventlet.monkey_patch()

import asyncio
import faulthandler
import functools
import os
import resource
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import coatcheck
from coatcheck import aio

#: In a form that no tool which freezes time finds.
real = functools.partial(time.perf_counter)
PATIENCE = 60.0
THREADS, ROUNDS = 4, 8


# -- the same for all ------------------------------------------------------------------------------


def use(results: coatcheck.Results, name: str, rounds: int = ROUNDS) -> None:
    """
    Store, read, and wait for present and future records.
    """
    for round_ in range(rounds):
        id_ = f"{name}-{round_}-{uuid.uuid4()}"
        assert results.store_result(id_, id_) is True
        assert results.get_result(id_) == id_
        assert results.AsyncResult(id_).get(timeout=PATIENCE) == id_
    late = f"{name}-late-{uuid.uuid4()}"
    storing = threading.Timer(0.05, results.store_result, (late, late))
    storing.start()
    assert results.AsyncResult(late).get(timeout=PATIENCE) == late
    storing.join()


def in_threads(act: Callable[[str], object], number: int = THREADS) -> None:
    """
    Call *act* in several threads; raise an error of one of them.
    """
    errors: list[BaseException] = []

    def run(name: str) -> None:
        try:
            act(name)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(f"t{n}",)) for n in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def load(results: coatcheck.Results) -> None:
    """
    Use *results* in all ways that depend on the environment.
    """
    in_threads(functools.partial(use, results))
    begun = real()
    for timeout in (0, 0.2):
        try:
            results.AsyncResult("never").get(timeout=timeout)
        except coatcheck.WaitTimeoutError:
            continue
        raise AssertionError("it cannot be there")
    assert real() - begun < 20
    id_ = str(uuid.uuid4())
    with results.running(id_, heartbeat=0.05) as task:
        task.progress(1, 2)
        time.sleep(0.12)
        task.result = 3
    assert results.AsyncResult(id_).get(timeout=PATIENCE) == 3


async def aio_load(results: aio.Results) -> None:
    """
    The same under asyncio.
    """

    async def one(number: int) -> None:
        for round_ in range(ROUNDS):
            id_ = f"{number}-{round_}-{uuid.uuid4()}"
            assert await results.store_result(id_, id_) is True
            assert await results.get_result(id_) == id_
            assert await results.AsyncResult(id_).get(timeout=PATIENCE) == id_

    await asyncio.gather(*map(one, range(THREADS)))
    late = str(uuid.uuid4())
    waiting = asyncio.create_task(results.wait_for(late, PATIENCE))
    await asyncio.sleep(0.02)
    # Seldom enough for a busy machine, on which the waiter must not take it for lost.
    async with results.running(late, heartbeat=5) as task:
        await task.progress(1, 2)
        task.result = 3
    assert (await waiting).result == 3
    async with results.running(str(uuid.uuid4()), heartbeat=0.05) as task:
        await asyncio.sleep(0.12)
    assert task.won
    for timeout in (0, 0.2):
        try:
            await results.AsyncResult("never").get(timeout=timeout)
        except coatcheck.WaitTimeoutError:
            continue
        raise AssertionError("it cannot be there")


async def aio_main(url: str) -> None:
    """
    Use the store, and close.
    """
    async with aio.by_url(url) as results:
        await aio_load(results)


# -- the environments ------------------------------------------------------------------------------


def gevent(url: str) -> None:
    """
    All is patched: threads are greenlets.
    """
    with coatcheck.by_url(url) as results:
        load(results)


eventlet_ = gevent


def uvloop(url: str) -> None:
    """
    Another loop.
    """
    import uvloop

    uvloop.run(aio_main(url))


def eager(url: str) -> None:
    """
    Tasks that begin at once, and a factory of the application's own.
    """

    def counting(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coroutine, loop=loop, **options)

    async def run(factory: Any) -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        await aio_main(url)

    for factory in (counting, getattr(asyncio, "eager_task_factory", None)):
        asyncio.run(run(factory))


def under_other_clocks(url: str, choose: Callable[..., Any]) -> None:
    """
    Work by clocks that *choose* gives the process: one stands still, one goes on.
    """
    with coatcheck.by_url(url) as results:
        use(results, "before", 1)
        for day, tick in (("2030-01-01", False), ("2001-01-01", True)):
            with choose(day, tick=tick), coatcheck.by_url(url) as other:
                use(other, day, 1)
                load(results)
        load(results)


def freezegun(url: str) -> None:
    """
    Stopped and shifted clocks, for objects from before and from then.
    """
    import freezegun

    under_other_clocks(url, freezegun.freeze_time)
    with freezegun.freeze_time("2030-01-01", real_asyncio=True):
        asyncio.run(aio_main(url))


def time_machine(url: str) -> None:
    """
    The same by another tool.
    """
    import time_machine

    under_other_clocks(url, time_machine.travel)
    with time_machine.travel("2030-01-01", tick=False):
        asyncio.run(aio_main(url))


def dev(url: str) -> None:
    """
    Python's development mode, with warnings as errors. In a running loop, synchronous code blocks
    and works.
    """
    with coatcheck.by_url(url) as results:
        load(results)

    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = (
            PATIENCE  # it would tell of the last part
        )
        await aio_main(url)
        with coatcheck.by_url(url) as results:
            use(results, "inside", 2)

    asyncio.run(main())


# -- limits ----------------------------------------------------------------------------------------


@contextmanager
def soft_limit(kind: int, number: int) -> Iterator[None]:
    """
    Have less for a while.
    """
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (number, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@contextmanager
def no_threads() -> Iterator[None]:
    """
    Reach the limit of threads.
    """
    with soft_limit(resource.RLIMIT_NPROC, 1):
        try:
            threading.Thread(target=int).start()
        except RuntimeError:
            yield
        else:
            raise AssertionError("the limit does not hold")


@contextmanager
def no_descriptors() -> Iterator[None]:
    """
    Reach the limit of descriptors.
    """
    taken: list[int] = []
    top = max(map(int, os.listdir("/proc/self/fd"))) + 2
    with soft_limit(resource.RLIMIT_NOFILE, top):
        try:
            while True:
                taken.append(os.dup(2))
        except OSError:
            yield
        finally:
            for descriptor in taken:
                os.close(descriptor)


def unprivileged(url: str) -> None:
    """
    Become a user without other processes: root has no limit of threads.
    """
    if os.getuid() == 0:
        if ":///" in url:  # files, which this process made so far
            for path in Path(url.rpartition("://")[2]).parent.rglob("*"):
                path.chmod(0o777)
        os.setgroups([])
        os.setgid(61_234)
        os.setuid(61_234)


def starve(results: coatcheck.Results, limit: Callable[[], Any]) -> None:
    """
    Reach the limit before the first use and between others. Calls may fail, with errors of ours.
    """
    for _ in range(2):
        with limit():
            for call in (
                lambda: results.store_result(str(uuid.uuid4()), 1),
                lambda: results.get_result("never"),
                lambda: results.wait_for("never", 0.2),
                lambda: results.wait_for("never", 0),
                lambda: results.running(str(uuid.uuid4()), heartbeat=9).__enter__(),
            ):
                try:
                    call()
                except (coatcheck.BackendError, coatcheck.WaitTimeoutError):
                    continue
        recovered(lambda: use(results, "after", 2))


def recovered(act: Callable[[], object]) -> None:
    """
    Do *act*, which may fail for a moment yet: a machine under load takes longer than an operation.
    """
    begun = real()
    while True:
        try:
            act()
        except coatcheck.BackendError:
            if real() - begun > PATIENCE / 2:
                raise
        else:
            return


async def aio_starve(results: aio.Results, limit: Callable[[], Any]) -> None:
    """
    The same under asyncio.
    """
    for _ in range(2):
        with limit():
            for call in (
                lambda: results.store_result(str(uuid.uuid4()), 1),
                lambda: results.get_result("never"),
                lambda: results.wait_for("never", 0.2),
                lambda: results.wait_for("never", 0),
            ):
                try:
                    await call()
                except (coatcheck.BackendError, coatcheck.WaitTimeoutError):
                    continue
        begun = real()
        while not await _answers(results):
            assert real() - begun < PATIENCE / 2


async def _answers(results: aio.Results) -> bool:
    try:
        return await results.store_result(str(uuid.uuid4()), 1)
    except coatcheck.BackendError:
        return False


def _starved(url: str, limit: Callable[[], Any]) -> None:
    async def main() -> None:
        async with aio.by_url(url, operation_timeout=1) as results:
            await aio_starve(results, limit)
        await aio_main(url)

    # Late imports need descriptors, too, and so do an application's files.
    with coatcheck.by_url(url) as results:
        load(results)
    asyncio.run(aio_main(url))
    if limit is no_threads:
        unprivileged(url)
    with coatcheck.by_url(url, operation_timeout=1) as results:
        starve(results, limit)
    asyncio.run(main())


def nproc(url: str) -> None:
    """
    No more threads.
    """
    _starved(url, no_threads)


def nofile(url: str) -> None:
    """
    No more descriptors.
    """
    _starved(url, no_descriptors)


PROGRAMS = {
    "gevent": gevent, "eventlet": eventlet_, "uvloop": uvloop, "eager": eager, "dev": dev,
    "freezegun": freezegun, "time_machine": time_machine, "nproc": nproc, "nofile": nofile,
}  # fmt: skip

if __name__ == "__main__":
    faulthandler.dump_traceback_later(300, exit=True)
    PROGRAMS[sys.argv[1]](sys.argv[2])
    faulthandler.cancel_dump_traceback_later()
    print("ok")
