"""
Who is measured on MongoDB: coatcheck, and the raw driver. See `contenders`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from contenders import EXPIRES, PATIENCE, VALUE, AioCoatcheck, Coatcheck

#: The same as coatcheck's default: only what a majority has is acknowledged, and read.
OPTIONS: Mapping[str, Any] = {"w": "majority", "readConcernLevel": "majority"}
STREAM: Sequence[dict[str, Any]] = [
    {"$match": {"fullDocument.status": "SUCCESS"}},
    {"$project": {"documentKey": 1}},
]


def document(task_id: str) -> dict[str, Any]:
    """
    Return a record as one writes it by hand: Celery's fields, and when it expires.
    """
    now = datetime.now(UTC)
    return {
        "_id": task_id,
        "status": "SUCCESS",
        "result": json.dumps(VALUE),
        "traceback": None,
        "children": None,
        "date_done": now,
        "expires_at": now + timedelta(seconds=EXPIRES),
    }


def touch(found: Mapping[str, Any]) -> None:
    """
    Read a record by hand.
    """
    _ = found["status"], json.loads(found["result"])


class Raw:
    """
    pymongo by hand: what a project has that writes its own.
    """

    def __init__(self, url: str) -> None:
        import pymongo

        self.client: Any = pymongo.MongoClient(url, **OPTIONS)
        self.tasks = self.client.get_default_database().celery_taskmeta
        self.stream: Any = None

    def store(self, task_id: str) -> None:
        self.tasks.replace_one({"_id": task_id}, document(task_id), upsert=True)

    def fetch(self, task_id: str) -> None:
        touch(self.tasks.find_one({"_id": task_id}))

    def store_many(self, task_ids: Sequence[str]) -> None:
        from pymongo import ReplaceOne

        self.tasks.bulk_write(
            [ReplaceOne({"_id": id_}, document(id_), upsert=True) for id_ in task_ids],
            ordered=False,
        )

    def get_many(self, task_ids: Sequence[str]) -> None:
        for found in self.tasks.find({"_id": {"$in": task_ids}}, batch_size=len(task_ids) + 1):
            touch(found)

    def listen(self, task_id: str) -> None:
        if self.stream is None:
            self.stream = self.tasks.watch(STREAM, max_await_time_ms=int(PATIENCE * 1000))

    def wake(self, task_id: str) -> None:
        while (event := self.stream.try_next()) is None or event["documentKey"]["_id"] != task_id:
            pass
        self.fetch(task_id)

    def close(self) -> None:
        if self.stream is not None:
            self.stream.close()
        self.client.close()


class AioRaw:
    """
    pymongo's asyncio by hand.
    """

    def __init__(self, url: str) -> None:
        import pymongo

        self.client: Any = pymongo.AsyncMongoClient(url, **OPTIONS)
        self.tasks = self.client.get_default_database().celery_taskmeta
        self.stream: Any = None

    async def store(self, task_id: str) -> None:
        await self.tasks.replace_one({"_id": task_id}, document(task_id), upsert=True)

    async def fetch(self, task_id: str) -> None:
        touch(await self.tasks.find_one({"_id": task_id}))

    async def store_many(self, task_ids: Sequence[str]) -> None:
        from pymongo import ReplaceOne

        await self.tasks.bulk_write(
            [ReplaceOne({"_id": id_}, document(id_), upsert=True) for id_ in task_ids],
            ordered=False,
        )

    async def get_many(self, task_ids: Sequence[str]) -> None:
        async for found in self.tasks.find(
            {"_id": {"$in": task_ids}}, batch_size=len(task_ids) + 1
        ):
            touch(found)

    async def listen(self, task_id: str) -> None:
        if self.stream is None:
            self.stream = await self.tasks.watch(STREAM, max_await_time_ms=int(PATIENCE * 1000))

    async def wake(self, task_id: str) -> None:
        while (event := await self.stream.try_next()) is None or event["documentKey"][
            "_id"
        ] != task_id:
            pass
        await self.fetch(task_id)

    async def close(self) -> None:
        if self.stream is not None:
            await self.stream.close()
        await self.client.close()


#: Whether each reads what it stored itself.
APART = False
#: What part of the speed by hand is aimed at.
TARGETS: Mapping[str, float] = {"store": 0.95, "fetch": 0.9}
SYNC: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "coatcheck": ("coatcheck", Coatcheck),
    "raw": ("pymongo", Raw),
}
AIO: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "coatcheck": ("coatcheck", AioCoatcheck),
    "raw": ("pymongo", AioRaw),
}
