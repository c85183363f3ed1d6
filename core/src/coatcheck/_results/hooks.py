"""
Hooks: plugins may observe operations. Hooks never find backends and never change data; one names the trace
context that a record carries.

A plugin is an object with functions marked by `hookimpl`, named as those of `HookSpec`; a
distribution offers one by an entry point of the group `coatcheck.plugins`. Without plugins nothing is
called, and pluggy is not even imported.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from .._runtime import entrypoints
from .._runtime.interruptions import pass_on_interruption
from ..errors import ConfigurationError, PluginError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._coding.codec import Codec
    from .._record.meta import ResultMeta

GROUP: Final = "coatcheck.plugins"
#: Names the plugins to load, with commas; set and empty it loads none.
VARIABLE: Final = "COATCHECK_PLUGINS"
_PROJECT: Final = "coatcheck"

_logger = logging.getLogger("coatcheck")


def hookimpl(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark *function* as a hook of a plugin. It takes those arguments of its namesake it names."""
    import pluggy  # noqa: PLC0415 - only where there are plugins

    marked: Callable[..., Any] = pluggy.HookimplMarker(_PROJECT)(function)
    return marked


class HookSpec:
    """
    The hooks. Times are in seconds. *store* is the URL of the store, without its secrets. An exception in a
    hook is logged, and changes nothing.

    Under asyncio they are called in the loop's thread, so they must not block.
    """

    def traceparent(self, store: str) -> str | None:
        """
        Return the trace context of the work at hand, as the W3C's header `traceparent` has it.

        It becomes the field `traceparent` of a record that is about to be stored, unless the writer gave one.
        The first plugin that knows a context counts.
        """

    def stored(self, meta: ResultMeta, won: bool, seconds: float, store: str) -> None:  # noqa: FBT001
        """A record was sent to the store; *won* is `False` if a ready one was there and stayed."""

    def read(self, metas: Mapping[str, ResultMeta], asked: int, seconds: float, store: str) -> None:
        """Records were read, *asked* of them; those that were there are in *metas*."""

    def waited(self, meta: ResultMeta, seconds: float, store: str) -> None:
        """A wait, which began *seconds* ago, got *meta*."""

    def failed(self, operation: str, error: Exception, seconds: float, store: str) -> None:
        """An operation ("store", "read", "wait" or "forget") raised *error*."""

    def forgotten(self, task_ids: list[str], count: int, seconds: float, store: str) -> None:
        """Records were deleted; *count* of them had been there."""


class Hooks:
    """The plugins of one `Results`, which is called *store*."""

    def __init__(self, plugins: Iterable[object], store: str) -> None:
        import pluggy  # noqa: PLC0415

        self._store = store
        self._manager = pluggy.PluginManager(_PROJECT)
        spec = pluggy.HookspecMarker(_PROJECT)
        for name, function in vars(HookSpec).items():
            if not name.startswith("_"):
                spec(function, firstresult=name == "traceparent")
        self._manager.add_hookspecs(HookSpec)
        try:
            for plugin in plugins:
                self._manager.register(plugin)
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(
                f"a plugin has a hook that coatcheck does not call: {error}"
            ) from error

    def call(self, name: str, **arguments: Any) -> Any:
        """Call the hook *name* of every plugin; return their answer."""
        try:
            return getattr(self._manager.hook, name)(store=self._store, **arguments)
        except Exception as error:
            pass_on_interruption(error)
            # Watchers cannot break the watched.
            _logger.exception("a plugin failed in its hook %r", name)
            return None

    def in_context(self, meta: ResultMeta, codec: Codec) -> ResultMeta:
        """Return *meta* with the trace context that a plugin names, unless it has one."""
        if meta.document.get("traceparent") is not None:
            return meta
        context = self.call("traceparent")
        if not isinstance(context, str):
            return meta
        return codec.written({**meta.document, "traceparent": context})


def installed(*, scan: bool) -> list[object]:
    """
    Return the installed plugins: those that `COATCHECK_PLUGINS` names, or all.

    Without *scan*, return named plugins only and do not look for others. A plugin that cannot be imported is
    logged and left out; if it was named, that is an error.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        names = [name.strip() for name in named.split(",") if name.strip()]
        return [_load_named(name) for name in names]
    found = [_load_or_log(entry) for entry in entrypoints.all_of(GROUP)] if scan else []
    return [plugin for plugin in found if plugin is not None]


def _load_named(name: str) -> object:
    entries = entrypoints.named(GROUP, name)
    if not entries:
        known = sorted(entry.name for entry in entrypoints.all_of(GROUP))
        raise ConfigurationError(
            f"{VARIABLE} names the plugin {name!r}, which is not installed "
            f"(installed: {', '.join(known) or 'none'})"
        )
    plugin: object = entrypoints.load(entries[0])
    return plugin


def _load_or_log(entry: Any) -> object | None:
    try:
        plugin: object = entrypoints.load(entry)
    except PluginError as error:
        _logger.warning("%s", error)
        return None
    return plugin


def hooks_of(plugins: Iterable[object], store: str) -> Hooks | None:
    """Return the hooks of *plugins*; `None` for none, so that nothing is called."""
    listed = list(plugins)
    return Hooks(listed, store) if listed else None
