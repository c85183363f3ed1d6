"""
The door for authors of native asyncio backends. `coatcheck.plugin` has the tools for both sides.

`Backend`, `KeyValueBackend` and `Bell` are the protocol for asyncio. `DrivenBackend` drives the operations of
`coatcheck.plugin.Operations`. `Apart` runs work to its end although
its caller is cancelled. `PerLoop` keeps one value for each
event loop. `lookups` finds the address of a name within a given time. `tasks` starts tasks without the
application's task factory. `ThreadedBackend` serves asyncio by a synchronous backend, and
`on_loop` serves synchronous code by an asyncio backend.
"""

from __future__ import annotations

from .._backends import asyncio_lookups as lookups
from .._backends.asyncio_apart import Apart
from .._backends.asyncio_backend import Backend, KeyValueBackend
from .._backends.asyncio_bells import Bell
from .._backends.asyncio_bridge import on_loop
from .._backends.asyncio_operations import DrivenBackend
from .._backends.bridge import ThreadedBackend
from .._runtime import tasks
from .._runtime.loops import PerLoop

__all__ = [
    "Apart",
    "Backend",
    "Bell",
    "DrivenBackend",
    "KeyValueBackend",
    "PerLoop",
    "ThreadedBackend",
    "lookups",
    "on_loop",
    "tasks",
]
