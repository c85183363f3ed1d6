"""
coatcheck: where Python programs leave the results of background work and pick them up again.

The map. Packages with an underscore are private; each may import from those above it.

    errors, states    the words
    _runtime          what the interpreter and the system may do to us: forks, signals, clocks, threads, loops
    _record           the document of one task, its snapshot (`ResultMeta`), its failure; groups of tasks
    _coding           documents to bytes and back: serializers, tags, compression, signatures, encryption
    _settings         URLs and their options, configuration files, Celery's settings
    _backends         the backend protocol, and the workshop of those who write a backend
    _embedded         the stores that need no server: memory, SQLite, files, disabled
    _waiting          when to look, and the hub that looks for everybody
    _results          what users hold: Results, handles, sets, running tasks; hooks
    _finding          from a URL or a name to a backend
    _migration        copies of the records of one store in another
    _doctor           the checks of `coatcheck doctor` that hold for every store
    plugin            the door for authors of backends
    aio               the same names for asyncio; aio.plugin is its door
    testing, cli      the contract for backends; the command line

The asyncio twin of a module stands next to it: `hub.py`, `asyncio_hub.py`. The two paths:

    store   Results.store_result -> _record -> _coding -> backend.put(unless=ready) -> hooks -> True or False
    wait    AsyncResult.get -> Results.wait_for -> hub: watch -> look -> bell -> look at what rang -> value or raise

The public names are those of `_api.__all__`. They are imported when the first of them is used, so that
`import coatcheck` costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would take longer than all the rest
if TYPE_CHECKING:
    from ._api import *  # noqa: F403
    from ._api import __all__ as __all__

__version__ = "0.2.0"


def __getattr__(name: str) -> object:
    from importlib import import_module  # noqa: PLC0415

    if name in {"aio", "cli", "errors", "plugin", "states", "testing"}:
        return import_module(f"coatcheck.{name}")
    # Python asks here for private modules, too, before it imports them.
    api = import_module("coatcheck._api") if name == "__all__" or name[:1] != "_" else None
    if api is None or (name != "__all__" and name not in api.__all__):
        raise AttributeError(f"module 'coatcheck' has no attribute {name!r}")
    value: object = getattr(api, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from ._api import __all__ as names  # noqa: PLC0415

    dunders = (name for name in globals() if name.startswith("__"))
    return sorted({*dunders, *names, "aio"})
