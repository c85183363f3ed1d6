"""
The driver's errors, and ours for each.
"""

from __future__ import annotations

from typing import Final

from redis import exceptions

from coatcheck.errors import (
    BackendError,
    BackendGetMetaError,
    BackendStoreError,
    BackendUnavailableError,
)
from coatcheck.plugin import without_users

#: Replies that say "not now": the server loads, fails over, or runs a long script.
_TRANSIENT_WORDS: Final = ("BUSY ", "NOREPLICAS ")  # the others have classes in the driver
_TRANSIENT: Final = (
    exceptions.ConnectionError,  # also for LOADING
    exceptions.TimeoutError,
    OSError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,  # also for MASTERDOWN
    exceptions.TryAgainError,
)
#: No server refuses smaller values, in bytes.
_LARGE: Final = 65_536
_REFUSED: Final = (
    exceptions.AuthenticationError,
    exceptions.AuthorizationError,
    exceptions.NoPermissionError,
)


def is_transient(error: Exception) -> bool:
    """Whether the operation may succeed in a moment."""
    if isinstance(error, _REFUSED) or "CERTIFICATE_VERIFY_FAILED" in str(error):
        return False
    return isinstance(error, _TRANSIENT) or str(error).startswith(_TRANSIENT_WORDS)


def is_noscript(reply: object) -> bool:
    """Whether the server does not have our script."""
    return isinstance(reply, exceptions.NoScriptError)


def is_wrong_type(reply: object) -> bool:
    """Whether a key holds no string, so that it is no record."""
    return isinstance(reply, exceptions.ResponseError) and str(reply).startswith("WRONGTYPE")


def is_size_refused(error: BackendError) -> bool:
    """Whether the server said that a value is too large."""
    return "invalid bulk length" in str(error.__cause__)


def is_size_suspect(error: BackendError, size: int) -> bool:
    """
    Whether the server may have refused a value of *size* bytes: it said so, or closed the connection.
    """
    cause = error.__cause__
    if size < _LARGE:
        return False
    lost = isinstance(cause, exceptions.ConnectionError) and "connecting to" not in str(cause)
    return lost or is_size_refused(error)


def is_refused(error: Exception) -> bool:
    """Whether the server refuses for good: this user, or because it is too old."""
    return isinstance(error, _REFUSED) or "unknown command" in str(error)


def mapped(error: Exception, label: str, *, writing: bool) -> BackendError:
    """Return our error for the driver's. The message says where the server is."""
    if isinstance(error, exceptions.NoPermissionError):
        error.args = (without_users(str(error)),)  # the cause is shown, too
    message = f"{label}: {error}"
    if isinstance(error, exceptions.NoPermissionError):
        message += _permission_hint(str(error))
    elif isinstance(error, _REFUSED):
        message = f"{label} refuses the user or password: {error}"
    elif isinstance(error, exceptions.MovedError):
        message = f"{label} is one node of a cluster: use redis+cluster:// ({error})"
    if isinstance(error, exceptions.ResponseError) and not is_transient(error):
        return BackendStoreError(message) if writing else BackendGetMetaError(message)
    return BackendUnavailableError(message)


def _permission_hint(text: str) -> str:
    if "eval" in text.lower() or "script" in text.lower():
        return (
            " (a store is one script: grant +eval, +evalsha and the commands get, getrange, set "
            "and publish)"
        )
    return ""
