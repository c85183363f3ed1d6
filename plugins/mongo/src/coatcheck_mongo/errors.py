"""
The driver's errors, and ours for each of them.
"""

from __future__ import annotations

from typing import Final

from pymongo import errors

from coatcheck.errors import (
    BackendError,
    BackendGetMetaError,
    BackendStoreError,
    BackendUnavailableError,
)

#: The errors that the driver raises.
ERRORS: Final = (errors.PyMongoError, OSError)
#: The server's codes for "not now": elections, shutdowns, interrupted commands, time-outs.
_TRANSIENT_CODES: Final = frozenset(
    {6, 7, 43, 50, 64, 89, 91, 112, 133, 134, 189, 262, 317, 9001}
    | {10107, 11600, 11602, 13435, 13436}
)
_UNAUTHORIZED: Final = 13
#: Authentication failed, and the same as Atlas says it.
_UNKNOWN_CODES: Final = frozenset({18, 8000})
#: Two upserts of one id met, and this is the later one.
DUPLICATE: Final = 11000
#: The server has no change streams: it stands alone, or its storage engine does not support them.
_NO_STREAM_CODES: Final = frozenset({40573, 40324, 72, 115})
#: A resume token that leads nowhere: the oplog no longer goes back that far, or it never was one.
_STALE_CODES: Final = frozenset({136, 260, 280, 286})


def _code_of(error: Exception) -> int | None:
    return error.code if isinstance(error, errors.OperationFailure) else None


def is_transient(error: Exception) -> bool:
    """Return whether the same try may succeed in a moment."""
    if _is_refused(error) or "CERTIFICATE_VERIFY_FAILED" in str(error):
        return False
    if isinstance(error, (errors.ConnectionFailure, errors.WTimeoutError, OSError)):
        return True
    # Another thread closed the client, or a reply belongs to no known question.
    if isinstance(error, (errors.InvalidOperation, errors.ProtocolError)):
        return True
    code = _code_of(error)
    return code in _TRANSIENT_CODES or code == DUPLICATE or _is_labelled(error)


def _is_labelled(error: Exception) -> bool:
    return isinstance(error, errors.PyMongoError) and (
        error.has_error_label("RetryableWriteError")
        or error.has_error_label("TransientTransactionError")
        or error.timeout
    )


def is_lost(error: Exception) -> bool:
    """Return whether a connection said nothing in time."""
    return isinstance(error, errors.NetworkTimeout)


def is_unknown(error: Exception) -> bool:
    """Return whether the server does not know this user, or the password is wrong."""
    return _code_of(error) in _UNKNOWN_CODES


def _is_refused(error: Exception) -> bool:
    return _code_of(error) == _UNAUTHORIZED or is_unknown(error)


def is_stale(error: Exception) -> bool:
    """Return whether a change stream cannot continue where it was."""
    return _code_of(error) in _STALE_CODES


def has_no_streams(error: Exception) -> bool:
    """Return whether the server has no change streams, or not for this user."""
    return _code_of(error) in _NO_STREAM_CODES or _is_refused(error)


def mapped(error: Exception, label: str, *, writing: bool) -> BackendError:
    """Return ours for the driver's *error*. Its message begins with the servers' *label*."""
    message = f"{label}: {error}"
    if is_unknown(error):
        message = f"{label} refuses the user or the password: {error}"
    elif isinstance(error, errors.ConfigurationError):
        message = f"{label} cannot be used as the options say: {error}"
    elif isinstance(error, errors.OperationFailure) and not is_transient(error):
        return BackendStoreError(message) if writing else BackendGetMetaError(message)
    return BackendUnavailableError(message)
