"""
The public names of coatcheck.
"""

from __future__ import annotations

import logging

from ._backends.backend import ANY, Backend, Capability, KeyValueBackend, Unless
from ._backends.bells import Bell
from ._finding.registry import register, registered, unregister
from ._finding.resolver import by_name, by_url, from_celery_config
from ._record.failures import Failure
from ._record.meta import ResultMeta
from ._results.handles import AsyncResult
from ._results.hooks import hookimpl
from ._results.results import Results
from ._results.resultsets import ResultSet
from ._results.running import RunningTask
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
    "RunningTask",
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
