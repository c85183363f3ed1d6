"""
Ways into a MongoDB round coatcheck, for its proofs of the contract.
"""

from __future__ import annotations

from coatcheck.testing.proof import SECRET

from .mongo import MongoServer
from .processes import free_port


class MongoProof:
    server: MongoServer

    @property
    def tasks(self):
        return self.server.client.results.celery_taskmeta

    def raw_document(self, task_id):
        found = self.tasks.find_one({"_id": task_id})
        return found and {**found, "task_id": found["_id"]}

    def raw_plant(self, task_id, planted):
        self.tasks.insert_one({"_id": task_id, **planted.fields})

    def raw_ttl(self, key):
        task_id = key.removeprefix("celery-task-meta-")
        left = {"$subtract": ["$expires_at", "$$NOW"]}
        found = self.tasks.aggregate([{"$match": {"_id": task_id}}, {"$project": {"left": left}}])
        milliseconds = found.next()["left"]
        return None if milliseconds is None else milliseconds / 1000

    def open_resources(self):
        return self.server.connections()

    def limited(self):
        return self.store_url, 16 * 1024 * 1024

    def unreachable_url(self):
        return f"mongodb://user:{SECRET}@127.0.0.1:{free_port()},127.0.0.1:{free_port()}/db"

    def address(self):
        return "127.0.0.1", self.server.port

    def through(self, port):
        return f"mongodb://127.0.0.1:{port}/results?directConnection=true"
