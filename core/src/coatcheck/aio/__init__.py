"""
coatcheck for asyncio: the same names with the same meaning; what does I/O is awaited.

`by_url` is called, not awaited: the first operation connects. A property of the sync side that
does I/O is a coroutine method here. Everything else (errors, metas, states) is in `coatcheck`.
"""

from __future__ import annotations

from .backend import Backend, KeyValueBackend
from .bells import Bell
from .handles import AsyncResult
from .resolver import by_name, by_url, from_celery_config, register, registered, unregister
from .results import Results
from .resultsets import ResultSet

__all__ = [
    "AsyncResult",
    "Backend",
    "Bell",
    "KeyValueBackend",
    "ResultSet",
    "Results",
    "by_name",
    "by_url",
    "from_celery_config",
    "register",
    "registered",
    "unregister",
]
