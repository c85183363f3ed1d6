"""
From a URL or a name to a backend: built-in, registered, or found by its entry point.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from .._backends.backend import (
    PROTOCOL_VERSION,
    Backend,
    BaseBackend,
    KeyValueBackend,
    stated_version,
)
from .._results import hooks
from .._results.results import Results
from .._runtime import entrypoints
from .._runtime.interruptions import pass_on_interruption
from .._settings import trust
from .._settings.config import DEFAULT_NAME, URL_VARIABLE, core_options, resolve_url, split_options
from .._settings.url import URL, masked
from ..errors import (
    CoatcheckError,
    ConfigurationError,
    PluginError,
    SchemeConflictError,
    UnknownSchemeError,
)

if TYPE_CHECKING:
    from .._settings.celeryconfig import CeleryConfig
    from .._settings.configfile import Config, Configuration, Named

#: What could be installed for a scheme: scheme = "import_name [extra]", in core's own metadata.
KNOWN_GROUP: Final = "coatcheck.known"
#: Schemes of other programs, each with ours, also in core's own metadata.
INSTEAD_GROUP: Final = "coatcheck.instead"
#: How alike a name has to be to be suggested.
_NEAR: Final = 0.7

BUILTIN: Final = {
    "memory": "coatcheck._embedded.memory:MemoryBackend",
    "sqlite": "coatcheck._embedded.sqlite:SQLiteBackend",
    "disabled": "coatcheck._embedded.disabled:DisabledBackend",
    "file": "coatcheck._embedded.files:FilesBackend",
}

#: "module:Class", or the class itself.
Target = str | type[Any]


class Registry:
    """
    The backends of one side, sync or asyncio: built in, registered, or found by entry points.
    """

    def __init__(self, group: str, builtin: Mapping[str, str], *, asyncio: bool = False) -> None:
        #: The entry point group: scheme = "module:Class".
        self.group = group
        self._asyncio = asyncio
        self._builtin = builtin
        self._registered: dict[str, Target] = {}
        self._loaded: dict[str, type[Any]] = {}

    def find(self, scheme: str) -> type[Any] | None:
        """
        Return the class for *scheme*: the whole of it, else what precedes its "+", else `None`.

        Raises `SchemeConflictError`, or `PluginError` for a class that cannot be used.
        """
        names = dict.fromkeys((scheme, scheme.partition("+")[0]))
        return next((cls for name in names if (cls := self._find(name)) is not None), None)

    def _find(self, name: str) -> type[Any] | None:
        if name not in self._loaded:
            target = self._registered.get(name) or self._builtin.get(name)
            if target is None and name in BUILTIN:
                return None  # an embedded scheme is not scanned for
            cls = (
                _import(target, asyncio=self._asyncio)
                if target is not None
                else _from_entry_point(name, self.group, asyncio=self._asyncio)
            )
            if cls is None:
                return None
            self._loaded[name] = cls
        return self._loaded[name]

    def schemes(self) -> set[str]:
        """
        Return the schemes that can be asked for, without loading anything.
        """
        installed = (entry.name for entry in entrypoints.all_of(self.group))
        return {*self._builtin, *self._registered, *installed}

    def register(self, scheme: str, target: Target, *, replace: bool = False) -> None:
        """
        Make *target*, a class or "module:Class", the backend for *scheme* in this process.

        Raises `SchemeConflictError` if the scheme is built in or registered, unless *replace*.
        """
        if not scheme:
            raise ConfigurationError("a scheme must not be empty")
        taken = self._registered.get(scheme) or BUILTIN.get(scheme)
        if taken is not None and taken != target and not replace:
            raise SchemeConflictError(scheme, [str(taken), str(target)])
        self._registered[scheme] = target
        self._loaded.pop(scheme, None)

    def unregister(self, scheme: str) -> None:
        """
        Undo `register`; what is not registered is left alone.
        """
        self._registered.pop(scheme, None)
        self._loaded.pop(scheme, None)

    @contextmanager
    def registered(self, scheme: str, target: Target) -> Iterator[None]:
        """
        Register *target* for the time of a block, for tests; what it replaces comes back.
        """
        before = self._registered.get(scheme)
        self.register(scheme, target, replace=True)
        try:
            yield
        finally:
            self.unregister(scheme)
            if before is not None:
                self.register(scheme, before, replace=True)


SYNC: Final = Registry("coatcheck.backends", BUILTIN)
AIO: Final = Registry("coatcheck.aio_backends", {}, asyncio=True)

register = SYNC.register
unregister = SYNC.unregister
registered = SYNC.registered


def by_url(url: str | None = None, **options: Any) -> Results:
    """
    Return the `Results` for *url*, or for the URL in `COATCHECK_URL`. No I/O.

    Options may stand in the URL's query, or be given by name; see `Results` for those that all
    backends have, and the backend's page for its own. Raises a `ConfigurationError` that says
    what is wrong: no such scheme, no such option, a plugin that cannot be used.
    """
    made, named = backend_for(url, options, SYNC)
    return Results(made, **named)


def by_name(name: str = DEFAULT_NAME, *, config: Config | None = None, **options: Any) -> Results:
    """
    Return the `Results` of the backend that the configuration calls *name*; connects to nothing.

    A name that is not configured may be a scheme, which is taken with its defaults: `by_name("memory")`.

    Args:
        config: the configuration, or the path of its file. By default the file that
            `COATCHECK_CONFIG` names, else the nearest `coatcheck.toml`, or `pyproject.toml` with
            a table `tool.coatcheck`, from the working directory upwards.
        options: as for `by_url`; they go over the URL's query, that over the environment, and that
            over the configuration.
    """
    made, named = named_backend(name, config, options, SYNC)
    return Results(made, **named)


def from_celery_config(
    config: CeleryConfig, *, namespace: str = "CELERY", **options: Any
) -> Results:
    """
    Return the `Results` that an application of Celery with this configuration has. No I/O, and
    nothing of Celery is imported.

    The settings that concern results are taken as Celery takes them: URL, credentials, key prefix,
    lifetime, serializer, what is accepted. Raises `ConfigurationError` for one that coatcheck
    cannot follow.

    Args:
        config: a mapping, such as `app.conf`; a module or an object with the settings as
            attributes; an application; or the import path of one: "package.module" or
            "package.module:app".
        namespace: what names in upper case start with, in a Django project's settings.
        options: as for `by_url`; they go over the configuration. With `read_only=True` the
            settings that concern writing do not matter.
    """
    made, named = celery_backend(config, namespace, options, SYNC)
    return Results(made, **named)


def celery_backend(
    config: CeleryConfig, namespace: str, options: Mapping[str, Any], *registries: Registry
) -> tuple[Any, dict[str, Any]]:
    """
    Return what `backend_for` does, for a configuration of Celery.
    """
    from .._settings import celeryconfig  # noqa: PLC0415 - only for those who have one

    settings = celeryconfig.read(config, namespace)
    parsed = celeryconfig.url_of(settings)
    mine = celeryconfig.common_options(settings, read_only=bool(options.get("read_only")))
    given = {**celeryconfig.own_options(settings), **options}
    if parsed.scheme == celeryconfig.NAMED:
        name = parsed.netloc or DEFAULT_NAME
        return named_backend(name, None, {**mine, **given}, *registries)
    cls = backend_class(parsed.scheme, SYNC)
    if not issubclass(cls, KeyValueBackend):
        mine.pop("key_prefix", None)  # other backends of Celery leave it alone, too
    url, theirs = cls.celery_options(parsed, settings)
    return backend_for(url, {**mine, **theirs, **given}, *registries)


def named_backend(
    name: str, config: Config | None, options: Mapping[str, Any], *registries: Registry
) -> tuple[Any, dict[str, Any]]:
    """
    Return what `backend_for` does, for a name.
    """
    chosen = choose(name, config, *registries)
    try:
        return backend_for(
            chosen.url, options, *registries, configured=chosen.options, where=chosen.where
        )
    except ConfigurationError as error:
        # The same error, which says where to correct it.
        if chosen.where not in str(error):
            error.args = (f"{chosen.where}: {error}",)
        raise


def choose(name: str, config: Config | None, *registries: Registry) -> Named:
    """
    Return the URL and the options that *name* stands for, and what says so.
    """
    from .._settings.configfile import Named, load  # noqa: PLC0415 - not by those who have a URL

    if not isinstance(name, str) or ":" in name:
        shown = masked(name) if isinstance(name, str) else type(name).__name__
        raise ConfigurationError(f"{shown!r} is not the name of a backend: give a URL to by_url()")
    configuration = load(config)
    named = configuration.backends.get(name)
    url = os.environ.get(URL_VARIABLE) if name == DEFAULT_NAME else None
    if named is not None and configuration.found:
        trust.check(
            None if url else named.url,  # that of the environment may say anything
            named.options,
            named.where,
            knows=lambda scheme: any(scheme in registry.schemes() for registry in registries),
        )
    if url and named is None:
        return Named(url, {}, URL_VARIABLE)
    if url and named is not None:
        # What only the other store has is of no use to this one.
        return Named(url, core_options(named.options), f"{URL_VARIABLE} over {named.where}")
    if named is not None:
        return named
    if _is_scheme(name, registries):
        return Named(f"{name}://", {}, f"the backend {name!r}")
    raise ConfigurationError(_not_named(name, configuration))


def _is_scheme(name: str, registries: Iterable[Registry]) -> bool:
    names = {name, name.partition("+")[0]}
    if names & set(BUILTIN):
        return True
    known = {entry.name for entry in entrypoints.all_of(KNOWN_GROUP)}
    return bool(names & known.union(*(registry.schemes() for registry in registries)))


def _not_named(name: str, configuration: Configuration) -> str:
    import difflib  # noqa: PLC0415 - only for an error

    configured, schemes = sorted(configuration.backends), sorted(SYNC.schemes())
    near = difflib.get_close_matches(name, [*configured, *schemes], 1, _NEAR)
    message = f"no backend is named {name!r}"
    if near:
        message += f"; did you mean {near[0]!r}?"
    if name == DEFAULT_NAME:
        message += f"; configure one, or set {URL_VARIABLE}"
    found = "no coatcheck.toml, nor pyproject.toml with tool.coatcheck, was found"
    if configuration.where:
        found = f"configured in {configuration.where}: {', '.join(configured) or 'none'}"
    return f"{message} ({found}; schemes: {', '.join(schemes)})"


def backend_for(
    url: str | None,
    options: Mapping[str, Any],
    *registries: Registry,
    configured: Mapping[str, Any] | None = None,
    where: str = "",
) -> tuple[Any, dict[str, Any]]:
    """
    Return the backend for *url* from the first of *registries* that has one, and what is left
    of *options* for `Results`.
    """
    parsed = resolve_url(url)
    given = dict(options)
    plugins = given.pop("plugins", ())  # objects: never of the query
    mine, timeout, rest = split_options(parsed, given, configured, where=where)
    cls = backend_class(parsed.scheme, *registries)
    found = hooks.installed(scan=parsed.scheme not in BUILTIN)
    mine = {"name": str(parsed), "plugins": [*found, *plugins], **mine, **timeout}
    return _made(cls, parsed, options=rest, **timeout), mine


def _made(cls: type[Any], url: URL, **options: Any) -> Any:
    try:
        made = cls.from_url(url, **options)
    except CoatcheckError:
        raise
    except Exception as error:
        pass_on_interruption(error)
        # Not its text, which may have the password.
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
    Return the class for *scheme* from the first of *registries* that has one.
    """
    for registry in registries:
        found = registry.find(scheme)
        if found is not None:
            return found
    raise _unknown(scheme)


def _import(target: Any, *, asyncio: bool) -> type[Any]:
    if not isinstance(target, str):
        return _checked(
            target, lambda: getattr(target, "__qualname__", repr(target)), asyncio=asyncio
        )
    module, _, name = target.partition(":")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:
        pass_on_interruption(error)
        raise PluginError(
            f"the registered backend {target!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    return _checked(found, lambda: target, asyncio=asyncio)


def _from_entry_point(name: str, group: str, *, asyncio: bool) -> type[Any] | None:
    entries = entrypoints.named(group, name)
    if len(entries) > 1:
        raise SchemeConflictError(name, map(entrypoints.owner, entries))
    if not entries:
        return None
    # The owner is read from its metadata, which takes a while: only for an error.
    return _checked(
        entrypoints.load(entries[0]), lambda: entrypoints.owner(entries[0]), asyncio=asyncio
    )


def _checked(cls: Any, who: Callable[[], str], *, asyncio: bool) -> type[Any]:
    version = stated_version(cls) if isinstance(cls, type) else None
    if version not in (None, PROTOCOL_VERSION):
        raise PluginError(
            f"the plugin {who()} is made for version {version} of the backend protocol, this "
            f"coatcheck has version {PROTOCOL_VERSION}: upgrade the older of the two"
        )
    if not (isinstance(cls, type) and issubclass(cls, BaseBackend)):
        kind = f"the class {cls.__qualname__}" if isinstance(cls, type) else type(cls).__name__
        raise PluginError(
            f"the plugin {who()} names {kind}, which is no backend: derive it from "
            "coatcheck.KeyValueBackend or coatcheck.Backend"
        )
    if version is None:
        raise PluginError(
            f"the plugin {who()} does not say which version of the backend protocol it is made "
            f"for: state PROTOCOL_VERSION = {PROTOCOL_VERSION} in the body of the class "
            f"{cls.__qualname__}"
        )
    # Embedded backends are spared the check, because `inspect` takes long to import.
    if cls.__module__.partition(".")[0] != __package__:
        _check_whole(cls, who, asyncio=asyncio)
    return cls


def _check_whole(cls: type[BaseBackend[Any]], who: Callable[[], str], *, asyncio: bool) -> None:
    """
    Raise `PluginError` for a backend that `by_url` could not make, or that no call could use.
    """
    import inspect  # noqa: PLC0415

    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise PluginError(f"the plugin {who()} is not finished: it lacks {', '.join(missing)}")
    if not asyncio and not issubclass(cls, Backend):
        raise PluginError(
            f"the plugin {who()} offers a backend for asyncio to synchronous code: list it in the "
            f"group {AIO.group}"
        )
    if cls.from_url.__func__ is BaseBackend.from_url.__func__:  # type: ignore[attr-defined]
        raise PluginError(f"the plugin {who()} is not finished: it lacks from_url")
    try:
        inspect.signature(cls.from_url).bind("url", operation_timeout=5.0, options={})
    except TypeError as error:
        raise PluginError(
            f"the plugin {who()} cannot be made from a URL, because its from_url() does not take "
            f"(url, *, operation_timeout, options): {error}"
        ) from error


def _unknown(scheme: str) -> UnknownSchemeError:
    installed = SYNC.schemes()
    if {scheme, scheme.partition("+")[0]} & AIO.schemes():
        return UnknownSchemeError(
            scheme, installed=installed, near=None, install=None, only_asyncio=True
        )
    known = {entry.name: entry for entry in entrypoints.all_of(KNOWN_GROUP)}
    entry = known.get(scheme) or known.get(scheme.partition("+")[0])
    others = {each.name: each.value for each in entrypoints.all_of(INSTEAD_GROUP)}
    near, instead = None, others.get(scheme) if entry is None else None
    if instead is not None:
        base = instead.partition("+")[0]
        entry = None if base in installed else known.get(base)
    elif entry is None:
        import difflib  # noqa: PLC0415 - only for an error

        close = difflib.get_close_matches(scheme, [*installed, *known], 1, _NEAR)
        near = close[0] if close else None
        entry = known.get(near or "") if near not in installed else None
    # Not `entry.extras`: anybody may write to the group, and write it wrong.
    _, extra, rest = entry.value.partition("[") if entry is not None else ("", "", "")
    install = f"coatcheck[{rest.rstrip(']')}]" if extra else None
    return UnknownSchemeError(
        scheme, installed=installed, near=near, install=install, instead=instead
    )
