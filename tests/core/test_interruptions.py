"""
What a signal handler raises comes out as it is, and nothing is stored because of it.
"""

import contextlib
import functools
import gc
import signal
import time

import pytest

import coatcheck
from coatcheck._coding.serializers import get_serializer
from coatcheck._runtime.interruptions import interruption_in, pass_on_interruption


class Limit(Exception):
    """
    As Celery's soft time limit.
    """


class HardLimit(BaseException):
    """
    One that is no `Exception`.
    """


def by_function(kind):
    def handle(signum, frame):
        raise kind("struck")

    return handle


def by_star(kind):
    def handle(*args):
        raise kind("struck")

    return handle


def by_method(kind):
    class Handler:
        def __call__(self, signum, frame):
            self.strike()

        def strike(self):
            raise kind("struck")

    return Handler()


def by_partial(kind):
    def handle(what, signum, frame=None):
        raise what("struck")

    return functools.partial(handle, kind)


@pytest.fixture(params=[by_function, by_star, by_method, by_partial])
def handler(request):
    before = signal.getsignal(signal.SIGALRM)
    # Python swallows what strikes destructors and the callbacks that others have at collections.
    gc.collect()
    gc.disable()

    def install(kind):
        signal.signal(signal.SIGALRM, request.param(kind))

    yield install
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    gc.enable()


def strike():
    signal.raise_signal(signal.SIGALRM)


@pytest.mark.parametrize("kind", [Limit, HardLimit, TimeoutError, ValueError, KeyboardInterrupt])
def test_a_handlers_exception_is_told_from_others(handler, kind):
    """
    Whatever shape the handler and its exception have, the exception is recognised; the same one
    raised by a call is not, but for Ctrl-C.
    """
    handler(kind)
    with pytest.raises(kind) as info:
        strike()
    assert info.value is interruption_in(info.value)

    def called(signum, frame):
        raise kind("called")

    with pytest.raises(kind) as info:
        called(14, None)
    assert (kind is KeyboardInterrupt) == (interruption_in(info.value) is not None)


def test_what_became_of_it_is_traced_back(handler):
    """
    A driver that turns it into an error of its own does not hide it.
    """
    handler(TimeoutError)

    def driver():
        try:
            strike()
        except OSError:
            raise ConnectionError("the driver's") from None

    with pytest.raises(TimeoutError, match="struck"):
        try:
            driver()
        except ConnectionError as error:
            pass_on_interruption(error)


def test_an_error_that_borrows_its_traceback(handler):
    """
    A driver that gives its own error the traceback of the exception does not hide it, either.
    """
    handler(Limit)

    def driver():
        try:
            strike()
        except Limit as error:
            raise ConnectionError("the driver's").with_traceback(error.__traceback__) from error

    with pytest.raises(Limit, match="struck"):
        try:
            driver()
        except ConnectionError as error:
            pass_on_interruption(error)


def test_what_was_caught_before_is_not_it(handler):
    """
    Code that handles an interruption, and meets an error meanwhile, sees that error.
    """
    handler(Limit)

    def operation():
        try:
            raise ConnectionError("the store is away")
        except ConnectionError as error:
            pass_on_interruption(error)
            raise

    try:
        strike()
    except Limit:
        with pytest.raises(ConnectionError):
            operation()


@pytest.mark.parametrize("handler", [by_function], indirect=True)
@pytest.mark.parametrize("serializer", ["json", "msgpack", "pickle"])
@pytest.mark.parametrize("kind", [Limit, HardLimit, TimeoutError])
def test_a_limit_while_encoding(handler, serializer, kind):
    """
    A limit that strikes while a value is encoded comes out, and no failure is stored.
    """
    handler(kind)
    row = {"a": 1, "b": [None, 2.5]} if serializer == "msgpack" else {"a": 1, 3: 4}
    results = coatcheck.by_url(
        "memory://test_interruptions", serializer=serializer, unsafe_pickle=True
    )
    results.store_result("before", [dict(row)])  # imports what there is to import
    struck = 0
    for part in range(1, 12):
        id_ = f"{serializer}-{kind.__name__}-{part}"
        try:
            with contextlib.suppress(kind):
                signal.setitimer(signal.ITIMER_REAL, 0.0003 * part)
                results.store_result(id_, {"rows": [dict(row) for _ in range(10_000)]})
                time.sleep(1)
            struck += not results.get_task_meta(id_).known
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        assert results.get_state(id_) in ("PENDING", "SUCCESS")
    assert struck


class Refuses:
    """
    A value that cannot be pickled, and says so by an exception of its own.
    """

    def __reduce__(self):
        raise Limit("not this")


def test_a_value_that_refuses_is_the_values_fault():
    """
    The same exception, raised by the value, is what the store is told.
    """
    results = coatcheck.by_url("memory://", serializer="pickle", unsafe_pickle=True)

    with pytest.raises(coatcheck.EncodeError, match="not this"):
        results.store_result("refuses", Refuses())
    assert "FAILURE" == results.get_state("refuses")


def test_an_exception_set_from_another_thread_is_not_the_values_fault():
    """
    An exception that comes out of nowhere, once, comes out of the call as well.
    """

    class Once:
        name = "once"
        text = True

        def __init__(self):
            self.failed = False
            self.json = get_serializer("json")

        def __getattr__(self, name):
            return getattr(self.json, name)

        def dumps(self, value, *, strict):
            if not self.failed:
                self.failed = True
                raise Limit
            return self.json.dumps(value, strict=strict)

    results = coatcheck.by_url("memory://", serializer=Once(), accept=["once"])

    with pytest.raises(Limit):
        results.store_result("once", 1)
    assert not results.exists("once")


def test_running_passes_on_what_interrupts_its_last_store(handler):
    """
    A limit that strikes while the end of a block is stored comes out, in place of a note.
    """
    handler(Limit)
    results = coatcheck.by_url("memory://")
    put = results.backend.put

    def slow(*args, **options):
        if args[1].ready:
            strike()
        return put(*args, **options)

    results.backend.put = slow
    with pytest.raises(Limit, match="struck"), results.running("t"):
        raise ValueError("the block's own")


def test_hooks_pass_on_what_interrupts_them(handler):
    """
    What a plugin's hook raises is logged; what interrupts it comes out.
    """

    class Plugin:
        @coatcheck.hookimpl
        def stored(self):
            strike()

    handler(Limit)
    results = coatcheck.by_url("memory://", plugins=[Plugin()])

    with pytest.raises(Limit, match="struck"):
        results.store_result("t", 1)
