"""
The known backends: built in, registered, or found by entry points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from .._backends.backend import (
    PROTOCOL_VERSION,
    Backend,
    BaseBackend,
    stated_version,
)
from .._runtime import entrypoints
from .._runtime.interruptions import pass_on_interruption
from ..errors import ConfigurationError, PluginError, SchemeConflictError

BUILTIN: Final = {
    "memory": "coatcheck._embedded.memory:MemoryBackend",
    "sqlite": "coatcheck._embedded.sqlite:SQLiteBackend",
    "disabled": "coatcheck._embedded.disabled:DisabledBackend",
    "file": "coatcheck._embedded.files:FilesBackend",
}

_OURS: Final = __name__.partition(".")[0]

#: "module:Class", or the class itself.
Target = str | type[Any]


class Registry:
    """The backends of one side, synchronous or asyncio."""

    def __init__(self, group: str, builtin: Mapping[str, str], *, asyncio: bool = False) -> None:
        #: The entry point group: scheme = "module:Class".
        self.group = group
        self._asyncio = asyncio
        self._builtin = builtin
        self._registered: dict[str, Target] = {}
        self._loaded: dict[str, type[Any]] = {}

    def find(self, scheme: str) -> type[Any] | None:
        """
        Return the class for *scheme*, or for the part of it before "+"; `None` if there is no such class.

        Raises `SchemeConflictError`, or `PluginError` for a class that cannot be used.
        """
        names = dict.fromkeys((scheme, scheme.partition("+")[0]))
        return next((cls for name in names if (cls := self._find(name)) is not None), None)

    def _find(self, name: str) -> type[Any] | None:
        if name not in self._loaded:
            target = self._registered.get(name) or self._builtin.get(name)
            if target is None and name in BUILTIN:
                return None  # embedded schemes need no scan
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
        """Return the known schemes. Loads nothing."""
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
        """Undo `register`. Does nothing for a scheme that is not registered."""
        self._registered.pop(scheme, None)
        self._loaded.pop(scheme, None)

    @contextmanager
    def registered(self, scheme: str, target: Target) -> Iterator[None]:
        """
        Register *target* during a block, for tests, and restore the earlier backend afterwards.
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
#: Where synchronous code finds its backends. Those that exist for asyncio only run on a loop in a thread.
FOR_THREADS: Final = (SYNC, AIO)


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
    # Reading the owner from its metadata is slow: only for an error.
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
    if cls.__module__.partition(".")[0] != _OURS:
        _check_whole(cls, who, asyncio=asyncio)
    return cls


def _check_whole(cls: type[BaseBackend[Any]], who: Callable[[], str], *, asyncio: bool) -> None:
    """
    Raise `PluginError` for a class that `by_url` could not instantiate, or that no call could use.
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
