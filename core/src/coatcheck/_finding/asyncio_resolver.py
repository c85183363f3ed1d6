"""
From a URL or a name to a backend for asyncio, see `coatcheck._finding.resolver`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._results.asyncio_results import Results
from .._settings.config import DEFAULT_NAME
from . import resolver
from .registry import AIO, SYNC

if TYPE_CHECKING:
    from .._settings.celeryconfig import CeleryConfig
    from .._settings.configfile import Config

register = AIO.register
unregister = AIO.unregister
registered = AIO.registered


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
