"""
Entry points of the installed distributions. Only this module scans for them, once per process.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..errors import PluginError
from .interruptions import pass_on_interruption

if TYPE_CHECKING:
    from importlib_metadata import EntryPoint


@lru_cache(maxsize=1)
def _scan() -> Any:
    from importlib_metadata import entry_points  # noqa: PLC0415 - slow, and often not needed

    return entry_points()  # without a group: one scan serves every look-up


def rescan() -> None:
    """Forget the scan, so that the next look-up scans again."""
    _scan.cache_clear()


def all_of(group: str) -> list[EntryPoint]:
    """Return every entry point of *group*."""
    return list(_scan().select(group=group))


def named(group: str, name: str) -> list[EntryPoint]:
    """Return the entry points of *group* called *name*: one, or one for each claimant."""
    return list(_scan().select(group=group, name=name))


def owner(entry: EntryPoint) -> str:
    """Return the distribution that offers *entry*, with its version."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def load(entry: EntryPoint) -> Any:
    """
    Import the object that *entry* names. Every failure becomes a `PluginError` that names the plugin.
    """
    try:
        return entry.load()
    except ModuleNotFoundError as error:
        own = entry.module.partition(".")[0]
        if error.name and error.name.partition(".")[0] != own:
            dist = entry.dist.name if entry.dist else own
            raise PluginError(
                f"the plugin {owner(entry)} is installed, but the package {error.name!r} that it needs "
                f"is missing: pip install --upgrade {dist}"
            ) from error
        raise PluginError(
            f"the plugin {owner(entry)} cannot be imported: {error}; reinstall it"
        ) from error
    except Exception as error:
        pass_on_interruption(error)
        raise PluginError(
            f"the plugin {owner(entry)} failed while it was imported: {type(error).__name__}: {error}"
        ) from error
