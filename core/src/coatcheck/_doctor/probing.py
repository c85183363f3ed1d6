"""
Probe records: the permissions of the user, notifications, and the store's clock.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from .._backends.backend import Capability
from .._backends.bells import Bell
from .._backends.checkup import Checkup, Finding, Level
from .._record.meta import ResultMeta
from .._results.results import Results
from .._runtime.clocks import monotonic, wall
from ..errors import BackendError, CoatcheckError, UnsupportedError

#: The ids of all probe records start so.
PREFIX: Final = "coatcheck-doctor-"
#: A probe record whose doctor was killed lives for this many seconds.
_LIFE: Final = 60
_VALUE: Final = {"text": "\u00e9", "numbers": [1, 2.5], "nothing": None}
#: A clock may be off by this many seconds, in addition to the time that the question took.
SKEW: Final = 1.0
_OTHER: Final = "use a store that keeps records for all processes"
_PERMIT: Final = "follow the message: most often a permission, a limit or a full disk is the reason"


def log_in(results: Results) -> Iterator[Finding]:
    """Read a record that is not there, which connects."""
    began = monotonic()
    try:
        results.get_task_meta(PREFIX + str(uuid.uuid4()))
    except UnsupportedError as error:
        yield Finding("login", Level.BROKEN, str(error), _OTHER)
    except CoatcheckError as error:
        yield Finding("login", Level.BROKEN, str(error), "correct the URL or the server's settings")
    else:
        yield _took("login", "connected, logged in and read", began)
        if Capability.SHARED not in results.capabilities:
            what = "only this process sees the records (capability SHARED)"
            yield Finding("sharing", Level.WARNING, what, _OTHER)


def probe(results: Results) -> Iterator[Finding]:
    """Store, fetch and forget a record, then listen for one."""
    if results._writer.read_only:  # noqa: SLF001 - of this package
        yield Finding("store", Level.UNCHECKED, "these results are read-only")
        return
    with _probe_id(results) as task_id:
        for check, act in (
            ("store", lambda: results.store_result(task_id, _VALUE, expires=_LIFE)),
            ("fetch", lambda: bool(results.get_result(task_id) == _VALUE)),
            ("forget", lambda: results.forget(task_id)),
        ):
            found = _tried(check, act)
            yield found
            if found.level == Level.BROKEN:
                return
    yield from _notify(results)


def _tried(check: str, act: Callable[[], bool]) -> Finding:
    began = monotonic()
    try:
        if act():
            return _took(check, f"can {check} a record", began)
    except CoatcheckError as error:
        return Finding(check, Level.BROKEN, str(error), _PERMIT)
    what = f"the store accepts the call, but cannot {check} a record"
    return Finding(check, Level.BROKEN, what, _OTHER)


def _notify(results: Results) -> Iterator[Finding]:
    if Capability.PUSH not in results.capabilities:
        what = "this store wakes no waiters (capability PUSH): they look again and again"
        yield Finding("notification", Level.UNCHECKED, what)
    else:
        with _probe_id(results) as task_id:
            yield _heard(results, task_id)


def _heard(results: Results, task_id: str) -> Finding:
    remedy = "permit publishing and subscribing; until then waiters poll"
    timeout = results._operation_timeout  # noqa: SLF001
    try:
        with results.backend.watch([task_id]) as bell:
            results.store_result(task_id, _VALUE, expires=_LIFE)
            began = monotonic()
            if bell.pushing and _rings(bell, task_id, began + timeout):
                return _took("notification", "a stored record wakes its waiters", began)
    except (BackendError, OSError) as error:
        return Finding("notification", Level.WARNING, f"cannot listen: {error}", remedy)
    what = f"a stored record wakes no waiter within {timeout:g} s"
    if results.polling is not None:
        what = f"cannot listen: {results.polling}"
    return Finding("notification", Level.WARNING, what, remedy)


def _rings(bell: Bell, task_id: str, deadline: float) -> bool:
    while (left := deadline - monotonic()) > 0:
        if task_id in bell.wait(left):
            return True
    return False


@contextmanager
def _probe_id(results: Results) -> Iterator[str]:
    task_id = PREFIX + str(uuid.uuid4())
    try:
        yield task_id
    finally:
        with suppress(CoatcheckError):
            results.backend.delete_many([task_id])


def compare_clocks(checkup: Checkup) -> Iterator[Finding]:
    """Compare the store's clock with this machine's."""
    began, start = monotonic(), wall()
    theirs = checkup.clock()
    took = monotonic() - began
    if theirs is None:
        return
    ahead = theirs - (start + took / 2)
    if abs(ahead) <= SKEW + took / 2:
        what = "the store's clock and this machine's agree"
        yield Finding("clock", Level.SOUND, what, seconds=took)
        return
    what = f"the store's clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    yield Finding("clock", Level.WARNING, what, "let NTP set the clocks of both machines")


def is_probe(meta: ResultMeta) -> bool:
    """Whether *meta* is a record of this module."""
    return meta.task_id.startswith(PREFIX)


def _took(check: str, what: str, began: float) -> Finding:
    return Finding(check, Level.SOUND, what, seconds=monotonic() - began)
