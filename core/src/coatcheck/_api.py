"""
The public names of coatcheck.
"""

from __future__ import annotations

import logging

from .backend import ANY, Backend, Capability, KeyValueBackend, Unless
from .bells import Bell
from .errors import (
    ArgumentError,
    BackendError,
    BackendGetMetaError,
    BackendStoreError,
    BackendUnavailableError,
    CoatcheckError,
    ConfigurationError,
    ContentDisallowed,
    DecodeError,
    EncodeError,
    PartlyUnavailableError,
    PluginError,
    ResultTooLargeError,
    SchemeConflictError,
    SerializationError,
    SignatureError,
    TaskError,
    TaskRevokedError,
    ThreadStartError,
    UnknownSchemeError,
    UnknownTaskError,
    UnsupportedError,
    WaitTimeoutError,
    WorkerLostError,
)
from .failures import Failure
from .handles import AsyncResult
from .hooks import hookimpl
from .meta import ResultMeta
from .resolver import by_name, by_url, from_celery_config, register, registered, unregister
from .results import Results
from .resultsets import ResultSet

# Silent by default: logging's last resort would print warnings otherwise.
logging.getLogger("coatcheck").addHandler(logging.NullHandler())

__all__ = [
    "ANY",
    "ArgumentError",
    "AsyncResult",
    "Backend",
    "BackendError",
    "BackendGetMetaError",
    "BackendStoreError",
    "BackendUnavailableError",
    "Bell",
    "Capability",
    "CoatcheckError",
    "ConfigurationError",
    "ContentDisallowed",
    "DecodeError",
    "EncodeError",
    "Failure",
    "KeyValueBackend",
    "PartlyUnavailableError",
    "PluginError",
    "ResultMeta",
    "ResultSet",
    "ResultTooLargeError",
    "Results",
    "SchemeConflictError",
    "SerializationError",
    "SignatureError",
    "TaskError",
    "TaskRevokedError",
    "ThreadStartError",
    "UnknownSchemeError",
    "UnknownTaskError",
    "Unless",
    "UnsupportedError",
    "WaitTimeoutError",
    "WorkerLostError",
    "by_name",
    "by_url",
    "from_celery_config",
    "hookimpl",
    "register",
    "registered",
    "unregister",
]
