"""
`by_url`, `by_name` and `from_celery_config`, for both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from .._settings.config import DEFAULT_NAME, Config
from .._settings.durations import Expires
from .._settings.options import DEFAULT, OPTIONS, Default, KeysGiven
from . import resolver
from .registry import Registry

if TYPE_CHECKING:
    from .._coding.serializers import Serializer
    from .._settings.celeryconfig import CeleryConfig

R = TypeVar("R")

_NAMES: Final = (*OPTIONS, "types", "plugins")


class Finder(Generic[R]):
    """
    Finds backends in *registries*, in their order, and returns results of the class *kind*.

    `coatcheck.Options` describes the options. `**backend` are options of the store that the URL names: its
    page lists them, and its `Options` types them, as in `by_url(url, **RedisOptions(db=1))`.
    """

    def __init__(self, kind: Callable[..., R], *registries: Registry) -> None:
        self._kind = kind
        self._registries = registries

    def by_url(
        self,
        url: str | None = None,
        *,
        serializer: str | Serializer | Default = DEFAULT,
        accept: Iterable[str] | Default = DEFAULT,
        strict: bool | Default = DEFAULT,
        unsafe_pickle: bool | Default = DEFAULT,
        trusted_exceptions: Iterable[str | type[Exception]] | Default = DEFAULT,
        compression: str | Default | None = DEFAULT,
        compress_over: int | Default = DEFAULT,
        max_inflated: int | Default = DEFAULT,
        max_values: int | Default = DEFAULT,
        signing_keys: KeysGiven | Default = DEFAULT,
        encryption_keys: KeysGiven | Default = DEFAULT,
        accept_unsigned: bool | Default = DEFAULT,
        expires: Expires | Default = DEFAULT,
        protect: Iterable[str] | Default = DEFAULT,
        key_prefix: str | Default = DEFAULT,
        safety_look: float | Default = DEFAULT,
        operation_timeout: float | Default = DEFAULT,
        read_only: bool | Default = DEFAULT,
        types: Iterable[type] | Default = DEFAULT,
        plugins: Iterable[object] | Default = DEFAULT,
        **backend: Any,
    ) -> R:
        """
        Return the `Results` for *url*, or for the URL in `COATCHECK_URL`. Called, not awaited. No I/O.

        Give options in the URL's query or by name. `coatcheck.Options` describes those that all stores have;
        each store's page lists its own. Raises `ConfigurationError` for an unknown scheme, an unknown option,
        or a plugin that cannot be used. A backend that exists for one side only serves the other side, too.
        """
        options = _given(locals())
        made, named = resolver.backend_for(url, options, *self._registries)
        return self._kind(made, **named)

    def by_name(
        self,
        name: str = DEFAULT_NAME,
        *,
        config: Config | None = None,
        serializer: str | Serializer | Default = DEFAULT,
        accept: Iterable[str] | Default = DEFAULT,
        strict: bool | Default = DEFAULT,
        unsafe_pickle: bool | Default = DEFAULT,
        trusted_exceptions: Iterable[str | type[Exception]] | Default = DEFAULT,
        compression: str | Default | None = DEFAULT,
        compress_over: int | Default = DEFAULT,
        max_inflated: int | Default = DEFAULT,
        max_values: int | Default = DEFAULT,
        signing_keys: KeysGiven | Default = DEFAULT,
        encryption_keys: KeysGiven | Default = DEFAULT,
        accept_unsigned: bool | Default = DEFAULT,
        expires: Expires | Default = DEFAULT,
        protect: Iterable[str] | Default = DEFAULT,
        key_prefix: str | Default = DEFAULT,
        safety_look: float | Default = DEFAULT,
        operation_timeout: float | Default = DEFAULT,
        read_only: bool | Default = DEFAULT,
        types: Iterable[type] | Default = DEFAULT,
        plugins: Iterable[object] | Default = DEFAULT,
        **backend: Any,
    ) -> R:
        """
        Return the `Results` of the backend that the configuration calls *name*. Called, not awaited. No I/O
        with the store.

        A name that is not configured may be a scheme, with its defaults: `by_name("memory")`.

        Args:
            config: the configuration, or the path of its file. By default the file that
                `COATCHECK_CONFIG` names, else the nearest `coatcheck.toml`, or `pyproject.toml` with
                a table `tool.coatcheck`, from the working directory upwards.
            options: as for `by_url`. They override the URL's query, which overrides the environment, which
                overrides the configuration.
        """
        options = _given(locals())
        made, named = resolver.named_backend(name, config, options, *self._registries)
        return self._kind(made, **named)

    def from_celery_config(
        self,
        config: CeleryConfig,
        *,
        namespace: str = "CELERY",
        serializer: str | Serializer | Default = DEFAULT,
        accept: Iterable[str] | Default = DEFAULT,
        strict: bool | Default = DEFAULT,
        unsafe_pickle: bool | Default = DEFAULT,
        trusted_exceptions: Iterable[str | type[Exception]] | Default = DEFAULT,
        compression: str | Default | None = DEFAULT,
        compress_over: int | Default = DEFAULT,
        max_inflated: int | Default = DEFAULT,
        max_values: int | Default = DEFAULT,
        signing_keys: KeysGiven | Default = DEFAULT,
        encryption_keys: KeysGiven | Default = DEFAULT,
        accept_unsigned: bool | Default = DEFAULT,
        expires: Expires | Default = DEFAULT,
        protect: Iterable[str] | Default = DEFAULT,
        key_prefix: str | Default = DEFAULT,
        safety_look: float | Default = DEFAULT,
        operation_timeout: float | Default = DEFAULT,
        read_only: bool | Default = DEFAULT,
        types: Iterable[type] | Default = DEFAULT,
        plugins: Iterable[object] | Default = DEFAULT,
        **backend: Any,
    ) -> R:
        """
        Return the `Results` of a Celery application with this configuration. Called, not awaited. No I/O, and
        nothing of Celery is imported.

        Settings that concern results mean the same as in Celery: URL, credentials, key prefix, lifetime,
        serializer, accepted content. Raises `ConfigurationError` for a setting that coatcheck cannot follow.

        Args:
            config: a mapping, such as `app.conf`; a module or an object with the settings as
                attributes; an application; or the import path of one: "package.module" or
                "package.module:app".
            namespace: the prefix of names in upper case, in a Django project's settings.
            options: as for `by_url`. They override the configuration. With `read_only=True` the settings that
                concern writing are ignored.
        """
        options = _given(locals())
        made, named = resolver.celery_backend(config, namespace, options, *self._registries)
        return self._kind(made, **named)


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the options among the *arguments* of a call."""
    options: dict[str, Any] = arguments["backend"]
    for name in _NAMES:
        if arguments[name] is not DEFAULT:
            options[name] = arguments[name]
    return options
