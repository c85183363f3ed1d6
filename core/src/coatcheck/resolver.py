"""
From a URL to a backend: built-in, registered, or found by its entry point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from . import config, entrypoints, hooks
from .backend import PROTOCOL_VERSION
from .errors import ConfigurationError, PluginError, SchemeConflictError, UnknownSchemeError
from .results import Results

#: What could be installed for a scheme: scheme = "import_name [extra]", in core's own metadata.
KNOWN_GROUP: Final = "coatcheck.known"

BUILTIN: Final = {
    "memory": "coatcheck.embedded.memory:MemoryBackend",
    "sqlite": "coatcheck.embedded.sqlite:SQLiteBackend",
    "disabled": "coatcheck.embedded.disabled:DisabledBackend",
    "file": "coatcheck.embedded.files:FilesBackend",
}

#: "module:Class", or the class itself.
Target = str | type[Any]


class Registry:
    """
    The backends of one side, sync or asyncio: built in, registered, or found by entry points.
    """

    def __init__(self, group: str, builtin: Mapping[str, str]) -> None:
        #: The entry point group: scheme = "module:Class".
        self.group = group
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
            cls = _import(target) if target is not None else _from_entry_point(name, self.group)
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
AIO: Final = Registry("coatcheck.aio_backends", {})

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


def backend_for(
    url: str | None, options: Mapping[str, Any], *registries: Registry
) -> tuple[Any, dict[str, Any]]:
    """
    Return the backend for *url* from the first of *registries* that has one, and what is left
    of *options* for `Results`.
    """
    parsed = config.resolve_url(url)
    given = dict(options)
    plugins = given.pop("plugins", ())  # objects: never of the query
    mine, timeout, rest = config.split_options(parsed, given)
    cls = backend_class(parsed.scheme, *registries)
    found = hooks.installed(scan=parsed.scheme not in BUILTIN)
    mine = {"name": str(parsed), "plugins": [*found, *plugins], **mine}
    return cls.from_url(parsed, options=rest, **timeout), mine


def backend_class(scheme: str, *registries: Registry) -> type[Any]:
    """
    Return the class for *scheme* from the first of *registries* that has one.
    """
    for registry in registries:
        found = registry.find(scheme)
        if found is not None:
            return found
    raise _unknown(scheme)


def _import(target: Target) -> type[Any]:
    if not isinstance(target, str):
        return _checked(target, lambda: target.__qualname__)
    module, _, name = target.partition(":")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:
        raise PluginError(
            f"the registered backend {target!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    return _checked(found, lambda: target)


def _from_entry_point(name: str, group: str) -> type[Any] | None:
    entries = entrypoints.named(group, name)
    if len(entries) > 1:
        raise SchemeConflictError(name, map(entrypoints.owner, entries))
    if not entries:
        return None
    # The owner is read from its metadata, which takes a while: only for an error.
    return _checked(entrypoints.load(entries[0]), lambda: entrypoints.owner(entries[0]))


def _checked(cls: type[Any], who: Callable[[], str]) -> type[Any]:
    version = getattr(cls, "PROTOCOL_VERSION", None)
    if version != PROTOCOL_VERSION:
        raise PluginError(
            f"the plugin {who()} is made for version {version} of the backend protocol, this "
            f"coatcheck has version {PROTOCOL_VERSION}: upgrade the older of the two"
        )
    return cls


def _unknown(scheme: str) -> UnknownSchemeError:
    installed = SYNC.schemes()
    known = {entry.name: entry for entry in entrypoints.all_of(KNOWN_GROUP)}
    entry = known.get(scheme) or known.get(scheme.partition("+")[0])
    near = None
    if entry is None:
        import difflib  # noqa: PLC0415 - only for an error

        close = difflib.get_close_matches(scheme, [*installed, *known], 1)
        near = close[0] if close else None
        entry = known.get(near or "") if near not in installed else None
    # Not `entry.extras`: anybody may write to the group, and write it wrong.
    _, extra, rest = entry.value.partition("[") if entry is not None else ("", "", "")
    install = f"coatcheck[{rest.rstrip(']')}]" if extra else None
    return UnknownSchemeError(scheme, installed=installed, near=near, install=install)
