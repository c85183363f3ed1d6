"""
Exceptions that do not want to be touched: a failure is stored, and what the block raised goes on.
"""

import _thread
import asyncio
import contextlib
import time
import traceback

import pytest
from support import hostile

import coatcheck
from coatcheck import aio, states
from coatcheck._coding.codec import Codec
from coatcheck._record.builtin_types import BUILTIN_TYPES
from coatcheck._record.failures import Failure
from coatcheck._record.raising import Trusted
from coatcheck.errors import EncodeError, TaskError
from coatcheck.testing.proof import innermost

KINDS = ["json", "msgpack", "pickle"]


def caught(call):
    """
    Return what *call* raises, without asking it anything.
    """
    try:
        call()
    except BaseException as error:
        return error
    pytest.fail("nothing was raised")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", hostile.HOSTILE)
def test_a_failure_is_stored(name, kind):
    """
    Whatever a block raises goes on as it is, and its waiters hear of it.
    """
    results = coatcheck.by_url(
        f"memory://hostile-{name}-{kind}", serializer=kind, unsafe_pickle=True, accept=KINDS
    )
    error = hostile.HOSTILE[name]()

    def run():
        with results.running("t"):
            raise error

    assert error is caught(run)
    meta = results.wait_for("t", timeout=10)
    assert states.FAILURE == meta.status
    raised = caught(lambda: results.AsyncResult("t").get(timeout=10))
    assert isinstance(raised, Exception)
    assert not isinstance(raised, (EncodeError, SystemExit))
    assert "".join(traceback.format_exception(raised))
    assert meta.traceback


@pytest.mark.parametrize("name", hostile.HOSTILE)
def test_a_failure_is_stored_by_asyncio(name):
    """
    So it is under asyncio.
    """
    error = hostile.HOSTILE[name]()

    async def run():
        results = aio.by_url(f"memory://hostile-aio-{name}")
        try:
            async with results.running("t", heartbeat=60):
                raise error
        except BaseException as found:
            assert found is error
        return (await results.wait_for("t", timeout=10)).status

    assert states.FAILURE == asyncio.run(run())


@pytest.mark.parametrize("name", hostile.HOSTILE)
def test_nothing_masks_it_where_the_store_is_away(name, tmp_path):
    """
    Where the failure cannot be stored, that is noted on the exception, if it can be.
    """
    error = hostile.HOSTILE[name]()
    (tmp_path / "none").write_text("no directory")
    results = coatcheck.by_url(f"sqlite:///{tmp_path}/none/x.db", operation_timeout=0.2)

    def run():
        with results.running("t"):
            raise error

    assert error is caught(run)
    notes = dict.get(BaseException.__dict__["__dict__"].__get__(error), "__notes__")
    assert "could not be stored" in notes[-1]

    async def run_aio():
        away = aio.by_url(f"sqlite:///{tmp_path}/none/x.db", operation_timeout=0.2)
        try:
            async with away.running("t"):
                raise error
        except BaseException as found:
            # Here, and not outside: asyncio's own tasks ask an exception for its class.
            assert found is error
            return True

    assert asyncio.run(run_aio())


@pytest.mark.parametrize("name", hostile.HOSTILE)
@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_what_a_callback_raises_ends_a_wait_as_it_is(name, scheme, tmp_path):
    """
    The exception of `on_interval` comes through every store's subscription.
    """
    error = hostile.HOSTILE[name]()
    url = f"memory://{name}" if scheme == "memory" else f"{scheme}:///{tmp_path}/x"
    results = coatcheck.by_url(url)

    def refuse(*_):
        raise error

    with results:
        found = caught(lambda: results.wait_for("t", 5, interval=0.001, on_interval=refuse))
    assert found is error

    async def wait():
        async with aio.by_url(url) as waiting:
            try:
                await waiting.wait_for("t", 5, interval=0.001, on_interval=refuse)
            except BaseException as found:
                return found is error

    assert asyncio.run(wait())


def test_an_interruption_is_none_of_the_exception(monkeypatch):
    """
    Ctrl-C while a failure is described is not taken for the exception's own.
    """

    class Slow(Exception):
        def __str__(self):
            interrupted()
            return "x"

    def interrupted():
        _thread.interrupt_main()
        time.sleep(5)

    results = coatcheck.by_url("memory://hostile-interrupted")
    with pytest.raises(KeyboardInterrupt):
        results.mark_as_failure("t", Slow())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", hostile.VALUES)
def test_hostile_values_are_refused(name, kind):
    """
    A value that fails where it is touched is refused, and its waiters hear of it.
    """
    results = coatcheck.by_url(
        f"memory://hostile-value-{name}-{kind}", serializer=kind, unsafe_pickle=True, accept=KINDS
    )
    with pytest.raises(EncodeError):
        results.store_result("t", {"a": [hostile.VALUES[name]()]})
    with pytest.raises((EncodeError, TaskError)):
        results.AsyncResult("t").get(timeout=10)


PLANTED = [None, 5, -1, 2**70, "x", "", ["x"], [["x"]], {"a": 1}, 1.5, True, [], b"x"]
NAMES = [
    "args", "characters_written", "encoding", "end", "end_lineno", "end_offset", "errno", "exceptions",
    "filename", "filename2", "lineno", "message", "msg", "name", "name_from", "obj", "object", "offset",
    "path", "print_file_and_line", "reason", "start", "strerror", "text", "value", "add_note",
    "with_traceback", "split", "subgroup", "derive", "failure",
]  # fmt: skip


@pytest.mark.parametrize("name", sorted(BUILTIN_TYPES))
def test_planted_attributes_and_arguments(name):
    """
    What a record says of a builtin exception never breaks whoever raises, prints or notes it.
    """
    for value in PLANTED:
        args = [[value], [value, value], ["m", ["f", value, value, value]], [value] * 5]
        args.append(["m", ["f", value, value, value, value, value]])
        for given in args:
            failure = Failure(
                "builtins", name, args=given, message="m", attributes=dict.fromkeys(NAMES, value)
            )
            error = failure.exception(Trusted())
            error.__cause__ = failure.exception(Trusted())

            assert len("".join(traceback.format_exception(error))) < 100_000
            assert error.with_traceback(None) is error
            error.add_note("a note")
            assert isinstance(str(error), str)
            with contextlib.suppress(TypeError):
                repr(error)


def test_planted_failures_are_few():
    """
    Of more exceptions than a failure may hold the rest is left out, however they are nested.
    """
    member = {"type": "ValueError", "module": "builtins"}
    for _ in range(4):
        member = {**member, "exceptions": [member] * 10, "cause": member, "type": "ExceptionGroup"}
    document = {"status": "FAILURE", "result": {}, "failure": member}

    def count(failure):
        around = [failure.cause, failure.context, *failure.exceptions]
        return 1 + sum(count(one) for one in around if one is not None)

    failure = Codec().decode("t", Codec().encode(document)).failure
    assert count(failure) <= 201


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cls", sorted(BUILTIN_TYPES))
def test_a_failure_over_the_limit(cls, kind):
    """
    A failure that the store has no room for says what it was, why, and where it came from.
    """
    results = coatcheck.by_url(
        f"memory://long-{cls}-{kind}", serializer=kind, unsafe_pickle=True, accept=KINDS
    )
    innermost(results.backend).max_value_bytes = 100_000
    made = {
        "UnicodeDecodeError": ("utf-8", b"\xff" * 100_000, 0, 1, "r" * 100_000),
        "UnicodeEncodeError": ("utf-8", "x" * 100_000, 0, 1, "r" * 100_000),
        "UnicodeTranslateError": ("x" * 100_000, 0, 1, "r" * 100_000),
        "ExceptionGroup": ("g" * 100_000, [ValueError("v" * 100_000)]),
    }
    error = BUILTIN_TYPES[cls](*made.get(cls, ("m\U0001f4a5" * 100_000,)))
    error.__cause__ = KeyError("the cause")
    with contextlib.suppress(BUILTIN_TYPES[cls]):
        raise error

    assert results.mark_as_failure("t", error)
    raised = caught(lambda: results.AsyncResult("t").get(timeout=10))
    assert str(raised)
    assert "shortened" in "".join(raised.__notes__)
    shown = "".join(traceback.format_exception(raised))
    assert "KeyError" in shown
    assert "test_a_failure_over_the_limit" in shown
    assert "KeyError" == results.get_task_meta("t").failure.cause.qualname
