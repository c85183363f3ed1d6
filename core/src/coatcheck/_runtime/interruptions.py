"""
Exceptions of signal handlers, which come out of every call unchanged.

A soft time limit, an alarm or Ctrl-C raises in the middle of any code. Such an exception says
nothing about the value that is being encoded or the store that is being asked. So code that turns the
exceptions of other code into ours, retries because of them, or continues in spite of them, calls
`pass_on_interruption` first.

This module tells such an exception from an error of the called code by its traceback: Python calls a
handler with the frame that it interrupts. So if a traceback leads from a frame into a function that received
this very frame, that function is a signal handler. This works for every class of exception, `TimeoutError`
included, and for the error that a driver made from it, if the driver names it as the cause or the context.
`KeyboardInterrupt` always counts. An exception that `PyThreadState_SetAsyncExc` raises in a thread leaves no
such trace; only code that catches `Exception` could mistake it.
"""

from __future__ import annotations

from opcode import opmap
from types import FrameType, TracebackType
from typing import Final

from .bare import cause_of, context_of, is_a, traceback_of

#: `inspect.CO_VARARGS`: that module is large.
_VARARGS: Final = 0x04


def pass_on_interruption(error: BaseException) -> None:
    """
    Raise the exception of a signal handler if *error* is one, or was made from one. Otherwise return.

    Call this in the `except` block that caught *error*.
    """
    found = interruption_in(error)
    if found is not None:
        raise found


def is_of_its_own(error: BaseException) -> bool:
    """
    Return whether the called code itself raised *error*, even `SystemExit`.

    A `KeyboardInterrupt` counts if a `raise` statement raised it. Ctrl-C strikes between statements.
    """
    traceback = traceback_of(error)
    if _is_of_handler(traceback):
        return False
    if not is_a(error, KeyboardInterrupt):
        return interruption_in(error) is None
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return False
    code = traceback.tb_frame.f_code.co_code
    return code[traceback.tb_lasti] == opmap["RAISE_VARARGS"]


def interruption_in(error: BaseException) -> BaseException | None:
    """
    Return the exception of a signal handler if *error* is one, or was made from one, else `None`.
    """
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        if _is_interruption(at):
            return _cause_of(at)
        seen.add(id(at))
        at = _origin(at)
    return None


def _is_interruption(error: BaseException) -> bool:
    return is_a(error, KeyboardInterrupt) or _is_of_handler(traceback_of(error))


def _cause_of(error: BaseException) -> BaseException:
    """
    Return the original of *error*. Some code, such as SQLAlchemy, copies the traceback of an error to
    the one that it raises instead.
    """
    cause = cause_of(error)
    while cause is not None and _is_interruption(cause):
        error, cause = cause, cause_of(cause)
    return error


def _is_of_handler(traceback: TracebackType | None) -> bool:
    above: list[FrameType] = []
    while traceback is not None:
        if above and _was_given(traceback.tb_frame, above):
            return True
        above.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return False


def _was_given(called: FrameType, frames: list[FrameType]) -> bool:
    """
    Return whether the function that runs in the frame *called* received one of *frames* as an argument.
    """
    code = called.f_code
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & _VARARGS)
    given = called.f_locals
    for name in code.co_varnames[:count]:
        value = given.get(name)
        values = value if type(value) is tuple else (value,)
        if any(one is frame for one in values if type(one) is FrameType for frame in frames):
            return True
    return False


def _origin(error: BaseException) -> BaseException | None:
    """
    Return the exception that became *error*: its cause, or the one that was being handled where it was
    raised. An exception that code further out had caught before the call does not count.
    """
    cause = cause_of(error)
    if cause is not None:
        return cause
    context = context_of(error)
    start = None if context is None else traceback_of(context)
    if start is None:
        return None
    caught_in, traceback = start.tb_frame, traceback_of(error)
    while traceback is not None:
        if traceback.tb_frame is caught_in:
            return context
        traceback = traceback.tb_next
    return None
