"""
Exceptions of signal handlers, which come out of every call as they are.

A soft time limit, an alarm or Ctrl-C raises in the middle of whatever runs. Such an exception says
nothing about the value that is being encoded or the store that is being asked. So whoever turns the
exceptions of other code into ours, repeats because of them, or goes on in spite of them, calls
`pass_on_interruption` first.

How it is told from an error of the code that was called: Python calls a handler with the frame that
it interrupts. So where a traceback leads from a frame into a function that was given this very frame,
that function is a signal handler. That holds for every class of exception, `TimeoutError` included,
and for what a driver made of it, as long as the driver names it as the cause or the context.
`KeyboardInterrupt` always counts. What is raised in a thread by `PyThreadState_SetAsyncExc` leaves no
such trace; of ours only those who catch `Exception` could take it for something else.
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
    Raise what a signal handler raised, if that is *error* or became it. Else return.

    To be called where *error* was caught.
    """
    found = interruption_in(error)
    if found is not None:
        raise found


def is_of_its_own(error: BaseException) -> bool:
    """
    Whether the code that was called raised *error* of its own accord, be it `SystemExit`.

    A `KeyboardInterrupt` counts as such where a statement raised it: nothing else tells it from that
    of Ctrl-C, which strikes between statements.
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
    Return what a signal handler raised, if that is *error* or became it.
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
    Return what *error* was made of by code, such as SQLAlchemy's, that gives its own error the
    traceback of the other.
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
    Whether one of *frames* is among the arguments of the function whose frame *called* is.
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
    Return what *error* was made of: its cause, or what was being handled where it was raised. What had
    been caught by code further out, before the call, is not what became *error*.
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
