"""
Mistakes that would go unnoticed, or be reported in terms of a driver.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import multiprocessing
import pickle

import pytest

import coatcheck
import coatcheck.aio
from coatcheck._results.misuse import Call


def nothing(held):
    """Do nothing, elsewhere."""


def test_another_process():
    """A process pool passes the error on."""
    with (
        coatcheck.by_url("memory://misuse") as results,
        multiprocessing.get_context("spawn").Pool(1) as pool,
        pytest.raises(TypeError, match="pass its task id and the URL"),
    ):
        pool.apply(nothing, (results.AsyncResult("t"),))


def test_a_forked_process():
    """A wait for a child's result in memory says why it cannot come."""
    context = multiprocessing.get_context("spawn")
    with coatcheck.by_url("memory://misuse") as results:
        child = context.Process(target=store, args=("memory://misuse",))
        child.start()
        child.join()
        with pytest.raises(coatcheck.WaitTimeoutError, match="memory://misuse is seen by one proc"):
            results.AsyncResult("child").get(timeout=0.01)


def store(url):
    """Store a result, elsewhere."""
    coatcheck.by_url(url).store_result("child", 1)


def test_classes_have_plain_functions():
    """Documentation and signatures are those of methods."""
    for cls in (coatcheck.AsyncResult, coatcheck.aio.AsyncResult):
        assert inspect.isfunction(cls.ready)
        assert ["self"] == list(inspect.signature(cls.ready).parameters)
    assert inspect.iscoroutinefunction(coatcheck.aio.AsyncResult.state)
    assert coatcheck.AsyncResult.ready.__doc__


def test_a_method_is_shown_as_one():
    """Text made of a method that was not called does not look like a state."""
    handle = coatcheck.aio.by_url("memory://misuse").AsyncResult("t")

    assert isinstance(handle.state, Call)
    assert "<method AsyncResult.state of <aio.AsyncResult 't'>>" == f"{handle.state}"


def test_calls_may_be_gathered():
    """A called method is a coroutine as any other."""

    async def main():
        async with coatcheck.aio.by_url("memory://misuse") as results:
            await results.store_result("t", 1)
            handle = results.AsyncResult("t")
            return await asyncio.gather(handle.state(), handle.ready(), handle.result(), handle)

    assert ["SUCCESS", True, 1, 1] == asyncio.run(main())


HELD = [
    lambda results: results,
    lambda results: results.AsyncResult("t"),
    lambda results: results.ResultSet(["t"]),
    lambda results: results.running("t"),
]


@pytest.mark.parametrize("side", [coatcheck, coatcheck.aio])
@pytest.mark.parametrize("copied", [pickle.dumps, copy.deepcopy], ids=["pickle", "copy"])
@pytest.mark.parametrize("held", HELD)
async def test_connections_are_not_copied(side, copied, held):
    """What holds connections says what to give to another process instead."""
    with pytest.raises(
        TypeError, match=r"cannot be pickled or copied.* coatcheck\.\w*\.?by_url\(url\)"
    ):
        copied([held(side.by_url("memory://misuse"))])


USES = [
    bool,
    hash,
    lambda method: method == "PENDING",
    lambda method: method != "PENDING",
    lambda method: method in ("SUCCESS", "FAILURE"),
    lambda method: method in {"SUCCESS", "FAILURE"},
]
TESTS = ["ready", "successful", "failed", "exists"]
VALUES = ["state", "status", "result", "info", "traceback", "date_done"]
COUNTS = ["ready", "successful", "failed", "waiting", "completed_count"]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(("make", "names"), [(HELD[1], TESTS), (HELD[2], COUNTS)])
def test_forgotten_calls(use, make, names):
    """A method is not silently true, or unequal, where its call was forgotten."""
    held = make(coatcheck.by_url("memory://misuse"))
    for name in names:
        with pytest.raises(TypeError, match=rf"\.{name} is a method.* write handle\.{name}\(\)"):
            use(getattr(held, name))
        assert getattr(held, name)() in (False, True, 0)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(("make", "names"), [(HELD[1], TESTS + VALUES), (HELD[2], COUNTS)])
async def test_forgotten_awaits(use, make, names):
    """The same holds for asyncio, where the properties of the other side are methods."""
    async with coatcheck.aio.by_url("memory://misuse") as results:
        held = make(results)
        for name in names:
            with pytest.raises(TypeError, match=rf"write await handle\.{name}\(\)"):
                use(getattr(held, name))
            with pytest.raises(TypeError, match=rf"write await handle\.{name}\(\)"):
                await getattr(held, name)
            await asyncio.create_task(getattr(held, name)())
