"""
From a URL to a backend: built-in, registered, or found by its entry point.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from . import config, entrypoints
from .backend import PROTOCOL_VERSION, Backend
from .errors import ConfigurationError, PluginError, SchemeConflictError, UnknownSchemeError
from .results import Results

if TYPE_CHECKING:
    pass

#: The entry point groups: scheme = "module:Class".
GROUP: Final = "coatcheck.backends"
AIO_GROUP: Final = "coatcheck.aio_backends"
#: What could be installed for a scheme: scheme = "import_name [extra]", in core's own metadata.
KNOWN_GROUP: Final = "coatcheck.known"

BUILTIN: Final = {
    "memory": "coatcheck.embedded.memory:MemoryBackend",
    "sqlite": "coatcheck.embedded.sqlite:SQLiteBackend",
    "disabled": "coatcheck.embedded.disabled:DisabledBackend",
}

#: "module:Class", or the class itself.
Target = str | type[Any]

_registered: dict[tuple[str, str], Target] = {}
_loaded: dict[tuple[str, str], type[Any]] = {}


def by_url(url: str | None = None, **options: Any) -> Results:
    """
    Return the `Results` for *url*, or for the URL in `COATCHECK_URL`. No I/O.

    Options may stand in the URL's query, or be given by name; see `Results` for those that all
    backends have, and the backend's page for its own. Raises a `ConfigurationError` that says
    what is wrong: no such scheme, no such option, a plugin that cannot be used.
    """
    parsed = config.resolve_url(url)
    mine, timeout, rest = config.split_options(parsed, options)
    cls = backend_class(parsed.scheme)
    backend: Backend[Any] = cls.from_url(parsed, options=rest, **timeout)
    return Results(backend, name=str(parsed), **mine)


def backend_class(scheme: str, group: str = GROUP) -> type[Any]:
    """
    Return the backend class for *scheme*: first the whole of it, then what precedes its "+".

    Raises `UnknownSchemeError`, `SchemeConflictError` or `PluginError`.
    """
    for name in dict.fromkeys((scheme, scheme.partition("+")[0])):
        found = _find(name, group)
        if found is not None:
            return found
    raise _unknown(scheme)


def _find(name: str, group: str) -> type[Any] | None:
    key = (group, name)
    if key not in _loaded:
        target = _registered.get(key) or (BUILTIN.get(name) if group == GROUP else None)
        cls = _import(target) if target is not None else _from_entry_point(name, group)
        if cls is None:
            return None
        _loaded[key] = cls
    return _loaded[key]


def _import(target: Target) -> type[Any]:
    if not isinstance(target, str):
        return _checked(target, target.__qualname__)
    module, _, name = target.partition(":")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:
        raise PluginError(
            f"the registered backend {target!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    return _checked(found, target)


def _from_entry_point(name: str, group: str) -> type[Any] | None:
    entries = entrypoints.named(group, name)
    if len(entries) > 1:
        raise SchemeConflictError(name, map(entrypoints.owner, entries))
    if not entries:
        return None
    return _checked(entrypoints.load(entries[0]), entrypoints.owner(entries[0]))


def _checked(cls: type[Any], who: str) -> type[Any]:
    version = getattr(cls, "PROTOCOL_VERSION", None)
    if version != PROTOCOL_VERSION:
        raise PluginError(
            f"the plugin {who} is made for version {version} of the backend protocol, this "
            f"coatcheck has version {PROTOCOL_VERSION}: upgrade the older of the two"
        )
    return cls


def installed_schemes(group: str = GROUP) -> set[str]:
    """
    Return the schemes that can be asked for, without loading anything.
    """
    registered = {name for registered_group, name in _registered if registered_group == group}
    return {*BUILTIN, *registered, *(entry.name for entry in entrypoints.all_of(group))}


def _unknown(scheme: str) -> UnknownSchemeError:
    installed = installed_schemes()
    known = {entry.name: entry for entry in entrypoints.all_of(KNOWN_GROUP)}
    entry = known.get(scheme) or known.get(scheme.partition("+")[0])
    near = None
    if entry is None:
        close = difflib.get_close_matches(scheme, [*installed, *known], 1)
        near = close[0] if close else None
        entry = known.get(near or "") if near not in installed else None
    # Not `entry.extras`: anybody may write to the group, and write it wrong.
    _, extra, rest = entry.value.partition("[") if entry is not None else ("", "", "")
    install = f"coatcheck[{rest.rstrip(']')}]" if extra else None
    return UnknownSchemeError(scheme, installed=installed, near=near, install=install)


def register(scheme: str, target: Target, *, group: str = GROUP, replace: bool = False) -> None:
    """
    Make *target* the backend for *scheme* in this process.

    Raises `SchemeConflictError` if the scheme is built in or registered, unless *replace*.
    """
    key = (group, scheme)
    taken = _registered.get(key) or BUILTIN.get(scheme)
    if taken is not None and taken != target and not replace:
        raise SchemeConflictError(scheme, [str(taken), str(target)])
    if not scheme:
        raise ConfigurationError("a scheme must not be empty")
    _registered[key] = target
    _loaded.pop(key, None)


def unregister(scheme: str, *, group: str = GROUP) -> None:
    """
    Undo `register`; what is not registered is left alone.
    """
    _registered.pop((group, scheme), None)
    _loaded.pop((group, scheme), None)


@contextmanager
def registered(scheme: str, target: Target, *, group: str = GROUP) -> Iterator[None]:
    """
    Register *target* for the time of a block, for tests; what it replaces comes back.
    """
    before = _registered.get((group, scheme))
    register(scheme, target, group=group, replace=True)
    try:
        yield
    finally:
        unregister(scheme, group=group)
        if before is not None:
            register(scheme, before, group=group, replace=True)
