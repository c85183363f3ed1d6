"""
From a URL to a backend for asyncio, see `coatcheck.resolver`.
"""

from __future__ import annotations

from typing import Any

from .. import resolver
from .results import Results

register = resolver.AIO.register
unregister = resolver.AIO.unregister
registered = resolver.AIO.registered


def by_url(url: str | None = None, **options: Any) -> Results:
    """
    Return the `Results` for *url*; called, not awaited. See `coatcheck.by_url`.

    A backend without a side for asyncio runs in threads.
    """
    made, named = resolver.backend_for(url, options, resolver.AIO, resolver.SYNC)
    return Results(made, **named)
