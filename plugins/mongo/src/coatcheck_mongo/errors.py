"""
The driver's errors, and which of ours each becomes.
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

#: Codes by which the server says "not now": elections, shutdowns, interrupted commands, time-outs.
_TRANSIENT_CODES: Final = frozenset(
    {
        6,
        7,
        43,
        50,
        64,
        89,
        91,
        112,
        133,
        134,
        189,
        262,
        317,
        9001,
        10107,
        11600,
        11602,
        13435,
        13436,
    }
)
_UNAUTHORIZED: Final = 13
#: Authentication failed, and the same as Atlas says it.
_UNKNOWN_CODES: Final = frozenset({18, 8000})
DUPLICATE: Final = 11000
#: The server has no change streams: it stands alone, or its storage engine lacks what they need.
_NO_STREAM_CODES: Final = frozenset({40573, 40324, 72, 115})
#: A resume token that leads nowhere: the oplog no longer goes back so far, or it never was one.
_STALE_CODES: Final = frozenset({136, 260, 280, 286})


def code_of(error: Exception) -> int | None:
    """
    Return the server's code for *error*, if it is one of the server's.
    """
    return error.code if isinstance(error, errors.OperationFailure) else None


def is_transient(error: Exception) -> bool:
    """
    Whether the same may succeed in a moment.
    """
    if is_refused(error) or "CERTIFICATE_VERIFY_FAILED" in str(error):
        return False
    if isinstance(error, (errors.ConnectionFailure, errors.WTimeoutError, OSError)):
        return True
    if isinstance(error, errors.InvalidOperation):  # another thread closed the client meanwhile
        return True
    if isinstance(error, errors.ProtocolError):  # a reply to a question of which nobody knows
        return True
    return code_of(error) in _TRANSIENT_CODES or is_duplicate(error) or _is_labelled(error)


def is_lost(error: Exception) -> bool:
    """
    Whether a connection said nothing in time.
    """
    return isinstance(error, errors.NetworkTimeout)


def _is_labelled(error: Exception) -> bool:
    return isinstance(error, errors.PyMongoError) and (
        error.has_error_label("RetryableWriteError")
        or error.has_error_label("TransientTransactionError")
        or error.timeout
    )


def is_refused(error: Exception) -> bool:
    """
    Whether the server says no to this user.
    """
    return code_of(error) == _UNAUTHORIZED or is_unknown(error)


def is_unknown(error: Exception) -> bool:
    """
    Whether the server does not know this user, or the password is another.
    """
    return code_of(error) in _UNKNOWN_CODES


def is_duplicate(error: Exception) -> bool:
    """
    Whether two upserts of one id met, and this is the later one.
    """
    return code_of(error) == DUPLICATE


def is_stale(error: Exception) -> bool:
    """
    Whether a change stream cannot go on where it was.
    """
    return code_of(error) in _STALE_CODES


def has_no_streams(error: Exception) -> bool:
    """
    Whether the server has no change streams, or not for this user.
    """
    return code_of(error) in _NO_STREAM_CODES or is_refused(error)


def mapped(error: Exception, label: str, *, writing: bool) -> BackendError:
    """
    Return ours for the driver's *error*, with the server's place in the message.
    """
    message = f"{label}: {error}"
    if is_unknown(error):
        message = f"{label} refuses the user or the password: {error}"
    elif isinstance(error, errors.ConfigurationError):
        message = f"{label} cannot be used as the options say: {error}"
    elif isinstance(error, errors.OperationFailure) and not is_transient(error):
        return BackendStoreError(message) if writing else BackendGetMetaError(message)
    return BackendUnavailableError(message)
