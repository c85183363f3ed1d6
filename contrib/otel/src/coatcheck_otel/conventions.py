"""
The names of OpenTelemetry's semantic conventions, and the attributes of a store by its URL.

Stores, reads and deletions follow the conventions for databases, which are stable. A wait follows those for
messaging: it receives one record, which another process wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from coatcheck.plugin import URL, host_and_port

#: The version of the conventions.
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.34.0"

DB_DURATION: Final = "db.client.operation.duration"
DB_SYSTEM: Final = "db.system.name"
DB_OPERATION: Final = "db.operation.name"
DB_BATCH: Final = "db.operation.batch.size"
DB_RETURNED: Final = "db.response.returned_rows"
MESSAGING_DURATION: Final = "messaging.client.operation.duration"
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION: Final = "messaging.operation.name"
MESSAGING_TYPE: Final = "messaging.operation.type"
MESSAGE_ID: Final = "messaging.message.id"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"
#: Names of our own.
RECORDS: Final = "coatcheck.records"
TASK_ID: Final = "coatcheck.task.id"
STATE: Final = "coatcheck.task.state"
WON: Final = "coatcheck.won"

#: The buckets that the conventions advise for durations, in seconds; then more for waits.
BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
WAIT_BUCKETS: Final = (*BUCKETS, 60.0, 600.0, 3600.0)

#: The names that the conventions have for stores, where the scheme is another one.
_SYSTEMS: Final = {
    "cache": "memcached",
    "postgres": "postgresql",
    "rediss": "redis",
    "rpc": "rabbitmq",
    "sentinel": "redis",
    "valkey": "redis",
    "valkeys": "redis",
}
_EMBEDDED: Final = frozenset({"disabled", "file", "memory", "sqlite"})


@lru_cache(maxsize=100)
def system_of(store: str) -> str:
    """Return the conventions' name of the kind of store at the URL *store*, else its scheme."""
    first, *more = URL(store).scheme.split("+") if ":" in store else ["coatcheck"]
    kind = more[0] if first in ("database", "db") and more else first
    return _SYSTEMS.get(kind, kind)


@lru_cache(maxsize=100)
def server_of(store: str) -> Mapping[str, str | int]:
    """Return the attributes of the server at the URL *store*; none for several, or for no server."""
    if system_of(store) in _EMBEDDED or ":" not in store:
        return {}
    url = URL(store)
    server = url.netloc.rpartition("@")[2]
    if not server or "," in server or ";" in url.rest:
        return {}
    host, port = host_and_port(url, server, port=0, path="")
    return {SERVER_ADDRESS: host, **({SERVER_PORT: port} if port else {})}
