"""
Interrupts a call at every place where a signal handler can run, in turn.

CPython runs signal handlers at the beginning of a Python function, after each call of a function in
C, and while that blocks. The profiler of `sys` is called at just these places, and its exceptions
propagate as those of a handler do. So the tests need neither signals nor luck: they strike each
place once, and the same places each time.
"""

from __future__ import annotations

import opcode
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

import coatcheck

_HERE: Final = str(Path(__file__).parent)
_CORE: Final = str(Path(coatcheck.__file__).parent)
#: Calls that wait, during which a handler may come and end them.
_BLOCKING: Final = frozenset(
    {
        "accept", "acquire", "connect", "do_handshake", "flock", "fsync", "get", "join", "poll", "read",
        "recv", "recv_into", "select", "send", "sendall", "sleep", "wait", "write",
    }
)  # fmt: skip
#: The instructions at which a generator is suspended.
_SUSPENDED: Final = frozenset(opcode.opmap[name] for name in ("YIELD_VALUE", "SEND"))


class Limit(Exception):  # noqa: N818 - as Celery's SoftTimeLimitExceeded
    """A handler's exception that is an `Exception`."""


class Abort(BaseException):
    """A handler's exception that is not."""


class Struck(NamedTuple):
    """The outcome of an interrupted call."""

    #: Where it was interrupted; `None` where it ended before.
    place: str | None
    #: The exception it ended with.
    error: BaseException | None
    #: How many places it passed.
    passed: int


class Profile:
    """
    Counts the places of one call, and raises *error* at the place of that *number*.

    Args:
        counts: whether the places in a frame count.
    """

    def __init__(
        self, number: int, error: BaseException, counts: Callable[[FrameType], bool]
    ) -> None:
        self.place: str | None = None
        #: How many places there were so far.
        self.seen: int = 0
        self._number = number
        self._error = error
        self._counts = counts

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if not (_is_place(frame, event, arg) and self._counts(frame)) or _is_finalizing(frame):
            return
        self.seen += 1
        if self.seen > self._number and self.place is None:
            what = (
                frame.f_code.co_qualname if event == "call" else getattr(arg, "__qualname__", arg)
            )
            self.place = f"{frame.f_code.co_filename}:{frame.f_lineno}: {event} {what}"
            raise self._error


def _below(roots: tuple[str, ...] | None, frame: FrameType) -> bool:
    """Return whether a frame's code is below *roots*; with `None`, anywhere but here."""
    name = frame.f_code.co_filename
    return not name.startswith(_HERE) and (roots is None or name.startswith(roots))


def _is_place(frame: FrameType, event: str, arg: Any) -> bool:
    """Whether a signal handler can run here."""
    if event == "call":
        # Not where an exception is thrown into a generator, which runs no handlers.
        last = frame.f_lasti
        return last < 0 or frame.f_code.co_code[last] not in _SUSPENDED
    if event == "c_call":
        return getattr(arg, "__name__", None) in _BLOCKING
    return event == "c_return"


def _is_finalizing(frame: FrameType | None) -> bool:
    """Whether a finalizer or a weak reference's callback runs: Python swallows their exceptions."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or code.co_filename.endswith("_weakrefset.py"):
            return True
        frame = frame.f_back
    return False


def interrupt(
    act: Callable[[], object],
    number: int,
    error: BaseException,
    *,
    roots: tuple[str, ...] | None = None,
) -> Struck:
    """
    Call *act*, and raise *error* at the place of that *number*, counted from 0.

    Only places in code below the directories *roots* count; with `None`, all but those here.
    """
    profile = Profile(number, error, partial(_below, roots))
    came: BaseException | None = None
    before = sys.getprofile()
    try:
        sys.setprofile(profile)
        act()
    except BaseException as caught:  # noqa: BLE001 - it is compared
        came = caught
    finally:
        sys.setprofile(before)
    return Struck(profile.place, came, profile.seen)


def places(act: Callable[[], object], *, roots: tuple[str, ...] | None = None) -> int:
    """Call *act*, and return the number of places where it can be interrupted."""
    struck = interrupt(act, sys.maxsize, Limit(), roots=roots)
    if struck.error is not None:
        raise struck.error
    return struck.passed


def strikes(
    act: Callable[[], object],
    kind: type[BaseException] = Limit,
    *,
    roots: tuple[str, ...] | None = None,
    first: int = 0,
    step: int = 1,
) -> Iterator[str]:
    """
    Interrupt *act* at each place in turn, at every *step*-th from *first* on; yield the places.

    The exception is one of *kind*, and must come out of *act* unchanged.
    """
    number = first
    while True:
        error = kind(f"at place {number}")
        struck = interrupt(act, number, error, roots=roots)
        if struck.place is None:
            if struck.error is not None:
                raise struck.error
            return
        assert struck.error is error, f"{struck.place}: {struck.error!r} came out of {act}"
        yield struck.place
        number += step


def roots_of(*modules: Any) -> tuple[str, ...]:
    """Return the directories of core and of *modules*, for `roots`."""
    files = (module.__file__ for module in modules if module.__file__ is not None)
    return (_CORE, *(str(Path(file).parent) for file in files))
