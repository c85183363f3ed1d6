"""
The driver's errors, and ours for each.
"""

from __future__ import annotations

from typing import Final

from pymemcache.exceptions import (
    MemcacheClientError,
    MemcacheError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownCommandError,
    MemcacheUnknownError,
)

from coatcheck.errors import (
    BackendError,
    BackendGetMetaError,
    BackendStoreError,
    BackendUnavailableError,
)

#: The errors that a connection raises.
ERRORS: Final = (MemcacheError, OSError)
#: The bytes to show of a reply that makes no sense.
_SHOWN: Final = 40

_TOO_LARGE: Final = "too large"
_BUSY: Final = "Too many open connections"


def error_in(line: bytes) -> MemcacheError:
    """Return the driver's error for an unexpected reply."""
    word, _, text = line.partition(b" ")
    message = text.decode("ascii", "replace")
    if word == b"SERVER_ERROR":
        return MemcacheServerError(message)
    if word == b"CLIENT_ERROR":
        return MemcacheClientError(message)
    if word == b"ERROR":
        return MemcacheUnknownCommandError(message or "it does not know the command")
    return MemcacheUnknownError(f"a reply that makes no sense: {line[:_SHOWN]!r}")


def is_transient(error: Exception) -> bool:
    """Whether the operation may succeed in a moment, over another connection."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return False
    # An error that the server names will not pass. All others concern the connection.
    passing = (OSError, MemcacheUnexpectedCloseError, MemcacheUnknownError)
    return isinstance(error, passing) or _BUSY in str(error)


def is_unauthenticated(error: Exception) -> bool:
    """Whether the server wants a user and a password."""
    return "unauthenticated" in str(error)


def is_too_large(error: Exception) -> bool:
    """Whether the server refuses the record as too large, regardless of the limit that it told."""
    return isinstance(error, MemcacheServerError) and _TOO_LARGE in str(error)


def mapped(error: Exception, label: str, *, writing: bool) -> BackendError:
    """Return our error for the driver's. The message says where the server is."""
    text = str(error) or type(error).__name__
    if isinstance(error, MemcacheUnexpectedCloseError):
        text = "the server closed the connection"
    if is_transient(error) or isinstance(error, OSError):
        return BackendUnavailableError(f"{label}: {text}")
    if is_unauthenticated(error):
        return BackendUnavailableError(f"{label} wants a user and a password: {text}")
    kind = BackendStoreError if writing else BackendGetMetaError
    return kind(f"{label} refuses: {text}")
