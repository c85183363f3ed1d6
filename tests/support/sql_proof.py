"""
Ways into databases round coatcheck, for the proofs of the contract.
"""

from __future__ import annotations

from datetime import UTC, datetime

from coatcheck.testing.proof import SECRET

from .processes import free_port
from .sql import row_of

PREFIX = "celery-task-meta-"
READ = "SELECT {} FROM celery_taskmeta WHERE task_id = {}"
NAMES = "task_id, status, result, traceback, children, date_done, name, write_id"


class ServerProof:
    def raw_document(self, task_id):
        rows = self.server.execute(READ.format(NAMES, "%s"), [task_id])
        return dict(zip(NAMES.split(", "), rows[0], strict=True)) if rows else None

    def raw_plant(self, task_id, planted):
        if not self.server.has_tables():
            with self.sync_results() as results:
                results.forget("makes the tables")
        row = {**row_of(planted.fields), "task_id": task_id}
        marks = ", ".join(["%s"] * len(row))
        insert = (
            f"INSERT INTO celery_taskmeta (id, {', '.join(row)}) "
            f"VALUES (nextval({self.sequence}), {marks})"
        )
        self.server.execute(insert, list(row.values()))

    def raw_ttl(self, key):
        query = READ.format(self.left, "%s")
        left = self.server.execute(query, [key.removeprefix(PREFIX)])[0][0]
        return None if left is None else float(left)

    def open_resources(self):
        return self.server.connections()

    def unreachable_url(self):
        return f"{self.scheme}://user:{SECRET}@127.0.0.1:{free_port()}/app"

    def address(self):
        return "127.0.0.1", self.server.port

    def through(self, port):
        return self.server.url.replace(str(self.server.port), str(port))


class PostgreSQLProof(ServerProof):
    scheme = "postgresql"
    left = "extract(epoch from expires_at - clock_timestamp())"
    sequence = "'task_id_sequence'"


class MariaDBProof(ServerProof):
    scheme = "mariadb"
    left = "TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), expires_at) / 1000000"
    sequence = "task_id_sequence"


class SQLiteProof:
    def raw_document(self, task_id):
        rows = self.server.execute(READ.format(NAMES, "?"), [task_id])
        return dict(zip(NAMES.split(", "), rows[0], strict=True)) if rows else None

    def raw_plant(self, task_id, planted):
        if not self.server.has_tables():
            with self.sync_results() as results:
                results.forget("makes the tables")
        row = {**row_of(planted.fields), "task_id": task_id}
        marks = ", ".join("?" * len(row))
        insert = f"INSERT INTO celery_taskmeta ({', '.join(row)}) VALUES ({marks})"
        self.server.execute(insert, list(row.values()))

    def raw_ttl(self, key):
        found = self.server.execute(READ.format("expires_at", "?"), [key.removeprefix(PREFIX)])
        if found[0][0] is None:
            return None
        ends = datetime.fromisoformat(found[0][0]).replace(tzinfo=UTC)
        return (ends - datetime.now(UTC)).total_seconds()
