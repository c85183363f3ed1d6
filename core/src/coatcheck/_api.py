"""
The public names of coatcheck.
"""

from __future__ import annotations

import logging
from typing import Final

from ._backends.backend import ANY, Backend, Capability, KeyValueBackend, Unless
from ._backends.bells import Bell
from ._backends.query import Filters
from ._finding.finder import Finder
from ._finding.registry import FOR_THREADS, SYNC
from ._migration.migration import migrate
from ._migration.outcome import Migrated
from ._record.documents import AllFields, Fields
from ._record.events import Attempt, Event
from ._record.failures import Failure
from ._record.meta import ResultMeta
from ._results.counting import Stats
from ._results.handles import AsyncResult
from ._results.hooks import HookSpec, hookimpl
from ._results.once import Claim
from ._results.pages import Page, Sort
from ._results.results import Results
from ._results.resultsets import ResultSet
from ._results.running import RunningTask
from ._settings.config import Config
from ._settings.durations import Expires
from ._settings.options import DEFAULT, Default, Options
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
    OnceConflictError,
    PartlyUnavailableError,
    PluginError,
    ResultTooLargeError,
    ResultTypeError,
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

_FINDER: Final = Finder(Results, *FOR_THREADS)
by_name: Final = _FINDER.by_name
by_url: Final = _FINDER.by_url
from_celery_config: Final = _FINDER.from_celery_config
register: Final = SYNC.register
registered: Final = SYNC.registered
unregister: Final = SYNC.unregister

# Silent by default: logging's last resort would print warnings otherwise.
logging.getLogger("coatcheck").addHandler(logging.NullHandler())

__all__ = [
    "ANY",
    "DEFAULT",
    "AllFields",
    "ArgumentError",
    "AsyncResult",
    "Attempt",
    "Backend",
    "BackendError",
    "BackendGetMetaError",
    "BackendStoreError",
    "BackendUnavailableError",
    "Bell",
    "Capability",
    "Claim",
    "CoatcheckError",
    "Config",
    "ConfigurationError",
    "ContentDisallowed",
    "DecodeError",
    "Default",
    "EncodeError",
    "Event",
    "Expires",
    "Failure",
    "Fields",
    "Filters",
    "HookSpec",
    "KeyValueBackend",
    "Migrated",
    "OnceConflictError",
    "Options",
    "Page",
    "PartlyUnavailableError",
    "PluginError",
    "ResultMeta",
    "ResultSet",
    "ResultTooLargeError",
    "ResultTypeError",
    "Results",
    "RunningTask",
    "SchemeConflictError",
    "SerializationError",
    "SignatureError",
    "Sort",
    "Stats",
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
    "migrate",
    "register",
    "registered",
    "unregister",
]
