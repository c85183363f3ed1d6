"""
From a URL, a name or Celery's settings to a backend, and the options of its results.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .._backends.backend import Backend, BaseBackend, KeyValueBackend
from .._results import hooks
from .._runtime import entrypoints
from .._runtime.interruptions import pass_on_interruption
from .._settings import trust
from .._settings.config import (
    DEFAULT_NAME,
    URL_VARIABLE,
    Config,
    core_options,
    resolve_url,
    split_options,
)
from .._settings.url import URL, masked
from ..errors import CoatcheckError, ConfigurationError, PluginError
from .hints import KNOWN_GROUP, not_named, unknown_scheme
from .registry import AIO, BUILTIN, FOR_THREADS, SYNC, Registry

if TYPE_CHECKING:
    from .._settings.celeryconfig import CeleryConfig
    from .._settings.configfile import Named


def celery_backend(
    config: CeleryConfig, namespace: str, options: Mapping[str, Any], *registries: Registry
) -> tuple[Any, dict[str, Any]]:
    """Do the same as `backend_for`, for a configuration of Celery."""
    from .._settings import celeryconfig  # noqa: PLC0415 - only for those who have one

    settings = celeryconfig.read(config, namespace)
    parsed = celeryconfig.url_of(settings)
    mine = celeryconfig.common_options(settings, read_only=bool(options.get("read_only")))
    given = {**celeryconfig.own_options(settings), **options}
    if parsed.scheme == celeryconfig.NAMED:
        name = parsed.netloc or DEFAULT_NAME
        return named_backend(name, None, {**mine, **given}, *registries)
    cls = backend_class(parsed.scheme)
    if not has_keys(cls):
        mine.pop("key_prefix", None)  # other backends of Celery leave it alone, too
    url, theirs = cls.celery_options(parsed, settings)
    return backend_for(url, {**mine, **theirs, **given}, *registries)


def has_keys(cls: type[Any]) -> bool:
    """Whether backends of *cls*, of either side, speak keys and bytes."""
    if issubclass(cls, Backend):
        return issubclass(cls, KeyValueBackend)
    from .._backends import asyncio_backend as aio  # noqa: PLC0415 - imports asyncio

    return issubclass(cls, aio.KeyValueBackend)


def named_backend(
    name: str, config: Config | None, options: Mapping[str, Any], *registries: Registry
) -> tuple[Any, dict[str, Any]]:
    """Do the same as `backend_for`, for a name."""
    chosen = choose(name, config, *registries)
    try:
        return backend_for(
            chosen.url, options, *registries, configured=chosen.options, where=chosen.where
        )
    except ConfigurationError as error:
        # The same error, with the place to correct.
        if chosen.where not in str(error):
            error.args = (f"{chosen.where}: {error}",)
        raise


def choose(name: str, config: Config | None, *registries: Registry) -> Named:
    """
    Return the URL and the options of the backend called *name*, and where they are configured.
    *registries* as for `backend_class`.
    """
    from .._settings.configfile import Named, load  # noqa: PLC0415 - not by those who have a URL

    registries = registries or FOR_THREADS
    if not isinstance(name, str) or ":" in name:
        shown = masked(name) if isinstance(name, str) else type(name).__name__
        raise ConfigurationError(f"{shown!r} is not the name of a backend: give a URL to by_url()")
    configuration = load(config)
    named = configuration.backends.get(name)
    url = os.environ.get(URL_VARIABLE) if name == DEFAULT_NAME else None
    if named is not None and configuration.found:
        trust.check(
            None if url else named.url,  # a URL from the environment may say anything
            named.options,
            named.where,
            knows=lambda scheme: any(scheme in registry.schemes() for registry in registries),
        )
    if url and named is None:
        return Named(url, {}, URL_VARIABLE)
    if url and named is not None:
        # Options of the configured store alone do not fit this one.
        return Named(url, core_options(named.options), f"{URL_VARIABLE} over {named.where}")
    if named is not None:
        return named
    if _is_scheme(name, registries):
        return Named(f"{name}://", {}, f"the backend {name!r}")
    raise ConfigurationError(not_named(name, SYNC.schemes(), configuration))


def _is_scheme(name: str, registries: Iterable[Registry]) -> bool:
    names = {name, name.partition("+")[0]}
    if names & set(BUILTIN):
        return True
    known = {entry.name for entry in entrypoints.all_of(KNOWN_GROUP)}
    return bool(names & known.union(*(registry.schemes() for registry in registries)))


def backend_for(
    url: str | None,
    options: Mapping[str, Any],
    *registries: Registry,
    configured: Mapping[str, Any] | None = None,
    where: str = "",
) -> tuple[Any, dict[str, Any]]:
    """
    Return the backend for *url*, and the options for `Results`. *registries* as for `backend_class`.
    """
    parsed = resolve_url(url)
    given = dict(options)
    # Objects: never from the query.
    plugins, types = given.pop("plugins", ()), given.pop("types", ())
    mine, rest = split_options(parsed, given, configured, where=where)
    cls = backend_class(parsed.scheme, *registries)
    found = hooks.installed(scan=parsed.scheme not in BUILTIN)
    timeout = {name: mine[name] for name in ("operation_timeout",) if name in mine}
    made = _made(cls, parsed, options=rest, **timeout)
    return made, {"name": str(parsed), "types": types, "plugins": [*found, *plugins], **mine}


def _made(cls: type[Any], url: URL, **options: Any) -> Any:
    try:
        made = cls.from_url(url, **options)
    except CoatcheckError:
        raise
    except Exception as error:
        pass_on_interruption(error)
        # Not its text: it may contain the password.
        raise PluginError(
            f"the backend {cls.__module__}:{cls.__qualname__} failed while it was made for {url}: "
            f"{type(error).__name__}"
        ) from error
    if not isinstance(made, BaseBackend):
        raise PluginError(
            f"{cls.__module__}:{cls.__qualname__}.from_url() returned {type(made).__name__}, which is "
            "no backend"
        )
    return made


def backend_class(scheme: str, *registries: Registry) -> type[Any]:
    """
    Return the class for *scheme* from the first of *registries* that has one; by default the class
    that serves synchronous code, which may be one for asyncio.
    """
    for registry in registries or FOR_THREADS:
        found = registry.find(scheme)
        if found is not None:
            return found
    raise unknown_scheme(scheme, SYNC.schemes() | AIO.schemes())
