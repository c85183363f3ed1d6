"""
From a URL or a name to a backend for asyncio, see `coatcheck._finding.resolver`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from .._results.asyncio_results import Results
from .._settings.config import DEFAULT_NAME
from . import resolver
from .registry import AIO, SYNC, Target

if TYPE_CHECKING:
    from .._settings.celeryconfig import CeleryConfig
    from .._settings.configfile import Config


def register(scheme: str, target: Target, *, replace: bool = False) -> None:
    """
    Register a backend for *scheme* in this process. See `coatcheck.register`.
    """
    AIO.register(scheme, target, replace=replace)


def unregister(scheme: str) -> None:
    """
    Undo `register`. See `coatcheck.unregister`.
    """
    AIO.unregister(scheme)


def registered(scheme: str, target: Target) -> AbstractContextManager[None]:
    """
    Register *target* during a block. See `coatcheck.registered`.
    """
    return AIO.registered(scheme, target)


def by_url(url: str | None = None, **options: Any) -> Results:
    """
    Return the `Results` for *url*; called, not awaited. See `coatcheck.by_url`.

    A backend without a side for asyncio runs in threads.
    """
    made, named = resolver.backend_for(url, options, AIO, SYNC)
    return Results(made, **named)


def by_name(name: str = DEFAULT_NAME, *, config: Config | None = None, **options: Any) -> Results:
    """
    Return the `Results` of the backend that the configuration calls *name*; called, not awaited.

    See `coatcheck.by_name`.
    """
    made, named = resolver.named_backend(name, config, options, AIO, SYNC)
    return Results(made, **named)


def from_celery_config(
    config: CeleryConfig, *, namespace: str = "CELERY", **options: Any
) -> Results:
    """
    Return the `Results` that an application of Celery with this configuration has; called, not
    awaited.

    See `coatcheck.from_celery_config`.
    """
    made, named = resolver.celery_backend(config, namespace, options, AIO, SYNC)
    return Results(made, **named)
