"""
coatcheck for asyncio: the same names with the same meaning. Await calls that do I/O.

`by_url` is called, not awaited: the first operation connects. A property of the sync side that
does I/O is a coroutine method here. Everything else (errors, metas, states) is in `coatcheck`.
"""

from __future__ import annotations

from typing import Final

from .._backends.asyncio_backend import Backend, KeyValueBackend
from .._backends.asyncio_bells import Bell
from .._finding.finder import Finder
from .._finding.registry import AIO, SYNC
from .._results.asyncio_handles import AsyncResult
from .._results.asyncio_once import Claim
from .._results.asyncio_results import Results
from .._results.asyncio_resultsets import ResultSet
from .._results.asyncio_running import RunningTask

_FINDER: Final = Finder(Results, AIO, SYNC)
by_name: Final = _FINDER.by_name
by_url: Final = _FINDER.by_url
from_celery_config: Final = _FINDER.from_celery_config
register: Final = AIO.register
registered: Final = AIO.registered
unregister: Final = AIO.unregister

__all__ = [
    "AsyncResult",
    "Backend",
    "Bell",
    "Claim",
    "KeyValueBackend",
    "ResultSet",
    "Results",
    "RunningTask",
    "by_name",
    "by_url",
    "from_celery_config",
    "register",
    "registered",
    "unregister",
]
