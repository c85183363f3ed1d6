"""
From a URL to a backend for asyncio, see `coatcheck.resolver`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from .. import config, resolver
from ..errors import UnknownSchemeError
from .results import Results


def by_url(url: str | None = None, **options: Any) -> Results:
    """
    Return the `Results` for *url*; called, not awaited. See `coatcheck.by_url`.

    A backend without a side for asyncio runs in threads.
    """
    parsed = config.resolve_url(url)
    mine, timeout, rest = config.split_options(parsed, options)
    try:
        cls = resolver.backend_class(parsed.scheme, resolver.AIO_GROUP)
    except UnknownSchemeError:
        cls = resolver.backend_class(parsed.scheme)
    backend = cls.from_url(parsed, options=rest, **timeout)
    return Results(backend, name=str(parsed), **mine)


def register(scheme: str, target: resolver.Target, *, replace: bool = False) -> None:
    """
    Make *target* the backend for *scheme* under asyncio. See `coatcheck.register`.
    """
    resolver.register(scheme, target, group=resolver.AIO_GROUP, replace=replace)


def unregister(scheme: str) -> None:
    """
    Undo `register`; what is not registered is left alone.
    """
    resolver.unregister(scheme, group=resolver.AIO_GROUP)


def registered(scheme: str, target: resolver.Target) -> AbstractContextManager[None]:
    """
    Register *target* for the time of a block. See `coatcheck.registered`.
    """
    return resolver.registered(scheme, target, group=resolver.AIO_GROUP)
