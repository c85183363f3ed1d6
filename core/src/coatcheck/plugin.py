"""
The door for authors of backends: everything that a backend needs of core, next to `coatcheck.errors`.

Everything else in core is private. `coatcheck.aio.plugin` has the tools that exist only for asyncio.

The protocol:
    `Backend` works with records, `KeyValueBackend` with keys and bytes. `Bell` is a subscription,
    `Capability` names the abilities of a store, `Unless` and `ANY` the records that a write must not replace. `Query`
    says which records a scan is for.

Operations:
    An operation with a decision in it is written once for both sides, as a generator: an `Operation`. `drive`
    and `adrive` drive one. `Operations` declares those of a backend, and `DrivenBackend` drives them.

The workshop:
    `Repeats` repeats an operation within its time, for threads and for asyncio, and `Attempts` is its
    schedule. `Backoff` says when to connect again. `Pool` and `Turns` lend connections. `forks` keeps state
    apart in forked children. `lookups` and `sockets` wait for names and sockets no longer than they may.
    `Alarm` wakes a thread, and `Waker` one that waits for sockets. `Portions` and `batches` divide groups.
    `start` starts a thread whole or not at all. `Wrapper` passes calls on to another backend or bell. `reached`
    looks at a deadline without running signal handlers, for the callbacks of drivers. `pass_on_interruption` lets exceptions of signal handlers through.

Checks:
    `Checkup` has the checks of a store for `coatcheck doctor`, which returns a `Finding` of a `Level` for each
    and looks for each `Server`. `directory_findings` are those of a directory.

Events:
    `get_log` returns a `Log`, which keeps at most `LOG_EVENTS` events and `LOG_BYTES` bytes.

Settings:
    `URL` and `read_options`, the readers `boolean`, `seconds` and `host_and_port`, and `shared_options` for
    applications that are configured for Celery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._backends import lookups
from ._backends.attempts import Attempts
from ._backends.backend import (
    ANY,
    Backend,
    BaseBackend,
    Capability,
    KeyValueBackend,
    Tally,
    Unless,
)
from ._backends.backoff import Backoff
from ._backends.bells import Bell, LocalBell
from ._backends.logs import LOG_BYTES, LOG_EVENTS, Log
from ._backends.operations import DrivenBackend, Operation, Operations, adrive, drive
from ._backends.pool import BusyError, Pool, Turns
from ._backends.portions import BATCH, Portions, Writing, batches
from ._backends.query import Query
from ._backends.records import encoded
from ._backends.repeats import Repeats
from ._backends.waker import Waker
from ._backends.wrapper import Wrapper
from ._coding.codec import ENVELOPE_MAGIC, Codec
from ._coding.compression import MARKER as COMPRESSION_MARKER
from ._coding.jsontags import TYPE as TYPE_TAG
from ._coding.kombus import KombuSerializer
from ._coding.kombus import accepted as accepted_content
from ._coding.serializers import BUILTINS as BUILTIN_SERIALIZERS
from ._coding.serializers import Serializer
from ._finding.resolver import backend_class, has_keys
from ._finding.resolver import choose as choose_backend
from ._record import groups
from ._record.documents import checked_id, new_document
from ._record.failures import Failure
from ._record.fields import aware
from ._record.groups import Tree, members_of, tree_of
from ._record.meta import ResultMeta
from ._runtime import forks, sockets
from ._runtime.alarm import Alarm
from ._runtime.clocks import monotonic, reached, wall
from ._runtime.interruptions import interruption_in, pass_on_interruption
from ._runtime.starting import start, undisturbed
from ._settings import celeryconfig
from ._settings.celeryconfig import shared_options, transport_options
from ._settings.config import DEFAULT_NAME
from ._settings.durations import seconds
from ._settings.options import CORE_OPTIONS, read_options
from ._settings.readers import boolean
from ._settings.url import MASK, URL, host_and_port, masked, without_users
from .states import PENDING, READY_STATES

if TYPE_CHECKING:
    from ._backends.checkup import Checkup, Finding, Level, Server
    from ._embedded.disk import findings as directory_findings
else:

    def __getattr__(name: str) -> object:
        # Only the doctor needs these.
        if name == "directory_findings":
            from ._embedded.disk import findings  # noqa: PLC0415

            return findings
        if name in {"Checkup", "Finding", "Level", "Server"}:
            from ._backends import checkup  # noqa: PLC0415

            return getattr(checkup, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ANY",
    "BATCH",
    "BUILTIN_SERIALIZERS",
    "COMPRESSION_MARKER",
    "CORE_OPTIONS",
    "DEFAULT_NAME",
    "ENVELOPE_MAGIC",
    "LOG_BYTES",
    "LOG_EVENTS",
    "MASK",
    "PENDING",
    "READY_STATES",
    "TYPE_TAG",
    "URL",
    "Alarm",
    "Attempts",
    "Backend",
    "Backoff",
    "BaseBackend",
    "Bell",
    "BusyError",
    "Capability",
    "Checkup",
    "Codec",
    "DrivenBackend",
    "Failure",
    "Finding",
    "KeyValueBackend",
    "KombuSerializer",
    "Level",
    "LocalBell",
    "Log",
    "Operation",
    "Operations",
    "Pool",
    "Portions",
    "Query",
    "Repeats",
    "ResultMeta",
    "Serializer",
    "Server",
    "Tally",
    "Tree",
    "Turns",
    "Unless",
    "Waker",
    "Wrapper",
    "Writing",
    "accepted_content",
    "adrive",
    "aware",
    "backend_class",
    "batches",
    "boolean",
    "celeryconfig",
    "checked_id",
    "choose_backend",
    "directory_findings",
    "drive",
    "encoded",
    "forks",
    "groups",
    "has_keys",
    "host_and_port",
    "interruption_in",
    "lookups",
    "masked",
    "members_of",
    "monotonic",
    "new_document",
    "pass_on_interruption",
    "reached",
    "read_options",
    "seconds",
    "shared_options",
    "sockets",
    "start",
    "transport_options",
    "tree_of",
    "undisturbed",
    "wall",
    "without_users",
]
