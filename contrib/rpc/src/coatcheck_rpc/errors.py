"""
The driver's errors, and ours for each of them. No I/O.
"""

from __future__ import annotations

import re
from typing import Final

from pika import exceptions

from coatcheck.errors import (
    BackendError,
    BackendGetMetaError,
    BackendStoreError,
    BackendUnavailableError,
)
from coatcheck.plugin import without_users

_PRECONDITION_FAILED: Final = 406
_ACCESS_REFUSED: Final = 403
_EXCLUSIVE: Final = "exclusive"
_TOO_LARGE: Final = re.compile(r"message size (\d+) .*size (\d+)")
_REFUSALS: Final = (
    exceptions.AuthenticationError,
    exceptions.ProbableAuthenticationError,
    exceptions.ProbableAccessDeniedError,
)


class Blocked(Exception):  # noqa: N818 - it is a state of affairs
    """The broker accepts no messages for now."""


class Silent(TimeoutError):  # noqa: N818 - as above
    """The broker says nothing any more."""


class Unroutable(Exception):  # noqa: N818 - as above
    """There is no queue of that name."""


class TooLarge(Exception):  # noqa: N818 - as above
    """The broker does not take messages of this size."""

    def __init__(self, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(f"{size} bytes are over the broker's limit of {limit}")


def too_large(error: BaseException) -> TooLarge | None:
    """Return the sizes that the broker names when it refuses a message for its size."""
    if isinstance(error, exceptions.ChannelClosed) and error.reply_code == _PRECONDITION_FAILED:
        found = _TOO_LARGE.search(error.reply_text)
        if found is not None:
            return TooLarge(int(found[1]), int(found[2]))
    return None


def is_refused(error: BaseException) -> bool:
    """Return whether the broker refuses, and will refuse again."""
    # Not the probable refusals: pika guesses them from a connection that was lost during the login.
    if isinstance(error, exceptions.AuthenticationError):
        return True
    if not isinstance(error, exceptions.ChannelClosed):
        return False
    if error.reply_code == _ACCESS_REFUSED:
        # The queue's reader may have gone without the broker's notice.
        return _EXCLUSIVE not in error.reply_text
    return bool(error.reply_code == _PRECONDITION_FAILED)


def text_of(error: BaseException) -> str:
    """Return the message of *error*, and remove the names of users from the error itself."""
    # It becomes the cause of ours, so it is shown as well.
    error.args = tuple(without_users(arg) if isinstance(arg, str) else arg for arg in error.args)
    if isinstance(error, (exceptions.ConnectionClosed, exceptions.ChannelClosed)):
        return f"{error.reply_code} {error.reply_text}"
    return _innermost(error)


def _innermost(error: BaseException) -> str:
    # pika wraps the error of the socket several times.
    inner: object = error
    while True:
        several = getattr(inner, "exceptions", None)
        if several:
            inner = several[-1]
        elif isinstance(getattr(inner, "exception", None), BaseException):
            inner = getattr(inner, "exception")  # noqa: B009 - it is not declared
        elif isinstance(inner, BaseException) and inner.args:
            first = inner.args[0]
            if not isinstance(first, BaseException):
                break
            inner = first
        else:
            break
    return str(inner) or type(inner).__name__


def mapped(
    error: BaseException, label: str, *, queue: str | None = None, writing: bool
) -> BackendError:
    """Return ours for *error*. Its message begins with the broker's *label*."""
    text = f"{label}: {text_of(error)}"
    if isinstance(error, _REFUSALS):
        return BackendUnavailableError(
            f"{label} refuses the user, the password or the virtual host: {text_of(error)}"
        )
    if isinstance(error, exceptions.ChannelClosed):
        if error.reply_code == _PRECONDITION_FAILED:
            text = (
                f"{label}: the queue {queue!r} is there with other arguments; declare it alike "
                f"(queue_expires= is Celery's result_expires), or read another one: {text_of(error)}"
            )
        elif _EXCLUSIVE in error.reply_text:
            return BackendUnavailableError(
                f"{label}: the queue {queue!r} has a reader already, and one queue has one: "
                f"leave queue= out, and each process reads its own ({text_of(error)})"
            )
        return BackendStoreError(text) if writing else BackendGetMetaError(text)
    return BackendUnavailableError(text)
