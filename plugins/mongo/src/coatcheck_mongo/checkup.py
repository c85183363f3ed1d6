"""
The faults of MongoDB: servers that stand alone, weak writes, missing indexes, members that lag.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from pymongo import MongoClient, uri_parser

from coatcheck.errors import BackendGetMetaError
from coatcheck.plugin import Checkup, Finding, Level, Server, batches

from .link import Link
from .requests import Try
from .settings import Settings

#: Updates by pipelines came with this version.
OLDEST: Final = (4, 2)
#: A member may be this many seconds behind the primary.
LAG: Final = 10.0
#: The states of members that are well: primary, secondary, arbiter.
_WELL: Final = (1, 2, 7)


class Ask(NamedTuple):
    """A command for the database of the records, or with *admin* for the server."""

    collection: str
    document: Mapping[str, Any]
    admin: bool = False
    primary: bool = True

    def sent(self, collection: Any) -> Any:
        """Return the reply."""
        database = collection.database
        return (database.client.admin if self.admin else database).command(dict(self.document))


class MongoCheckup(Checkup):
    """The checks of one server, or of a replica set."""

    def __init__(self, settings: Settings, link: Link) -> None:
        self._settings = settings
        self._link = link

    def servers(self) -> Sequence[Server]:
        if self._settings.uri.startswith("mongodb+srv:"):
            return []  # the driver asks the name server for them
        nodes = uri_parser.parse_uri(self._settings.uri)["nodelist"]
        with MongoClient[dict[str, Any]](
            self._settings.uri, **self._link.client_options()
        ) as client:
            given = client.options.pool_options._ssl_context  # noqa: SLF001 - no public way
        # That of pyOpenSSL makes other sockets.
        context = given if isinstance(given, ssl.SSLContext) else None
        return [Server.by_context(host, port or 0, context) for host, port in nodes]

    def version(self) -> str:
        return f"MongoDB {self._ask({'buildInfo': 1})['version']}"

    def clock(self) -> float:
        # The driver's dates are naive, and in UTC.
        moment: datetime = self._ask({"hello": 1})["localTime"]
        return moment.replace(tzinfo=UTC).timestamp()

    def endless(self, task_ids: Sequence[str]) -> int:
        without = {"expires_at": {"$not": {"$type": "date"}}}
        name = self._settings.tasks
        counts = (
            {"count": name, "query": {"_id": {"$in": ids}, **without}} for ids in batches(task_ids)
        )
        return sum(int(self._ask(count)["n"]) for count in counts)

    def findings(self) -> Iterator[Finding]:
        version = self._ask({"buildInfo": 1})["versionArray"]
        if tuple(version) < OLDEST:
            remedy = f"upgrade to {'.'.join(map(str, OLDEST))} or later"
            shown = ".".join(map(str, version[:3]))
            yield Finding("version", Level.BROKEN, f"the server has version {shown}", remedy)
        if not self._settings.durable:
            what = "w is not majority: a failover may lose an acknowledged record, and its election"
            yield Finding("write concern", Level.WARNING, what, "remove w= from the URL")
        for check in (self._replicas, self._indexes, self._monitor):
            try:
                yield from check()
            except BackendGetMetaError as error:
                yield Finding("settings", Level.UNCHECKED, str(error))

    def _replicas(self) -> Iterator[Finding]:
        hello = self._ask({"hello": 1})
        if hello.get("msg") == "isdbgrid":
            return
        if "setName" not in hello:
            what = (
                "the server stands alone: waits poll, and a failure of its disk loses all records"
            )
            remedy = "start it with --replSet, also if it has no other members, and rs.initiate()"
            yield Finding("replica set", Level.WARNING, what, remedy)
            return
        members = self._ask({"replSetGetStatus": 1}, admin=True)["members"]
        newest = max(member["optimeDate"] for member in members if "optimeDate" in member)
        for member in members:
            behind = (newest - member.get("optimeDate", newest)).total_seconds()
            if member["state"] not in _WELL or behind > LAG:
                what = f"the member {member['name']} is {member['stateStr']}, {behind:.0f} s behind"
                remedy = "start it, or look at its log and its network"
                yield Finding("replica set", Level.WARNING, what, remedy)

    def _indexes(self) -> Iterator[Finding]:
        name = self._settings.tasks
        indexes = self._ask({"listIndexes": name})["cursor"]["firstBatch"]
        if not any(
            index.get("expireAfterSeconds") == 0 and dict(index["key"]) == {"expires_at": 1}
            for index in indexes
        ):
            reason = self._link.unindexed
            what = f"{name} has no TTL index{f': {reason}' if reason else ''}: expired records stay"
            remedy = f"db.{name}.createIndex({{expires_at: 1}}, {{expireAfterSeconds: 0}})"
            if any(index["name"] == "expires_at_1" for index in indexes):
                remedy = f'db.{name}.dropIndex("expires_at_1"); {remedy}'
            yield Finding("index", Level.WARNING, what, remedy)

    def _monitor(self) -> Iterator[Finding]:
        reply = self._ask({"getParameter": 1, "ttlMonitorEnabled": 1}, admin=True)
        if not reply["ttlMonitorEnabled"]:
            what = "the server's TTL monitor is off: expired records stay"
            remedy = "db.adminCommand({setParameter: 1, ttlMonitorEnabled: true})"
            yield Finding("expiry monitor", Level.WARNING, what, remedy)

    def _ask(self, document: Mapping[str, Any], *, admin: bool = False) -> Any:
        request: Any = Ask(self._settings.tasks, document, admin)
        return self._link.ask(Try(request, writing=False))
