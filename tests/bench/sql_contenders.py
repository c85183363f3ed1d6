"""
Who is measured on PostgreSQL: coatcheck, and psycopg by hand. See `contenders`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from contenders import EXPIRES, PATIENCE, VALUE, AioCoatcheck, Coatcheck

TABLE = """
CREATE TABLE IF NOT EXISTS by_hand (
    task_id TEXT PRIMARY KEY, status TEXT, result TEXT, date_done TIMESTAMPTZ,
    expires_at TIMESTAMPTZ
)
"""
STORE = """
INSERT INTO by_hand (task_id, status, result, date_done, expires_at) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (task_id) DO UPDATE SET status = excluded.status, result = excluded.result,
    date_done = excluded.date_done, expires_at = excluded.expires_at
"""
#: With a notification, as whoever wants to be woken has to.
STORE_AND_NOTIFY = (
    f"WITH stored AS ({STORE} RETURNING task_id) SELECT pg_notify('by_hand', task_id) FROM stored"
)
READ = "SELECT task_id, status, result FROM by_hand WHERE task_id = ANY(%s)"


def values(task_id: str) -> tuple[Any, ...]:
    """
    Return a record as one writes it by hand.
    """
    now = datetime.now(UTC)
    return task_id, "SUCCESS", json.dumps(VALUE), now, now + timedelta(seconds=EXPIRES)


def touch(row: tuple[str, str, str]) -> None:
    """
    Read a record by hand.
    """
    _ = row[1], json.loads(row[2])


class Raw:
    """
    psycopg by hand: what a project has that writes its own.
    """

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.connection.execute(TABLE)
        self._url = url
        self.ear: Any = None

    def store(self, task_id: str) -> None:
        self.connection.execute(STORE_AND_NOTIFY, values(task_id))

    def fetch(self, task_id: str) -> None:
        for row in self.connection.execute(READ, [[task_id]]):
            touch(row)

    def store_many(self, task_ids: Sequence[str]) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(STORE_AND_NOTIFY, list(map(values, task_ids)))

    def get_many(self, task_ids: Sequence[str]) -> None:
        for row in self.connection.execute(READ, [list(task_ids)]):
            touch(row)

    def listen(self, task_id: str) -> None:
        if self.ear is None:
            self.ear = psycopg.connect(self._url, autocommit=True)
            self.ear.execute("LISTEN by_hand")

    def wake(self, task_id: str) -> None:
        for notify in self.ear.notifies(timeout=PATIENCE):
            if notify.payload == task_id:
                break
        self.fetch(task_id)

    def close(self) -> None:
        self.connection.close()
        if self.ear is not None:
            self.ear.close()


class AioRaw:
    """
    psycopg's asyncio by hand.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.connection: Any = None
        self.ear: Any = None

    async def _connected(self) -> Any:
        if self.connection is None:
            self.connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
            await self.connection.execute(TABLE)
        return self.connection

    async def store(self, task_id: str) -> None:
        await (await self._connected()).execute(STORE_AND_NOTIFY, values(task_id))

    async def fetch(self, task_id: str) -> None:
        async for row in await (await self._connected()).execute(READ, [[task_id]]):
            touch(row)

    async def store_many(self, task_ids: Sequence[str]) -> None:
        async with (await self._connected()).cursor() as cursor:
            await cursor.executemany(STORE_AND_NOTIFY, list(map(values, task_ids)))

    async def get_many(self, task_ids: Sequence[str]) -> None:
        async for row in await (await self._connected()).execute(READ, [list(task_ids)]):
            touch(row)

    async def listen(self, task_id: str) -> None:
        if self.ear is None:
            self.ear = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
            await self.ear.execute("LISTEN by_hand")

    async def wake(self, task_id: str) -> None:
        async for notify in self.ear.notifies(timeout=PATIENCE):
            if notify.payload == task_id:
                break
        await self.fetch(task_id)

    async def close(self) -> None:
        for connection in (self.connection, self.ear):
            if connection is not None:
                await connection.close()


#: Whether each reads what it stored itself.
APART = True
#: What part of the speed by hand is aimed at.
TARGETS: Mapping[str, float] = {"store": 0.85, "fetch": 0.8}
SYNC: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "coatcheck": ("coatcheck", Coatcheck),
    "raw": ("psycopg", Raw),
}
AIO: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "coatcheck": ("coatcheck", AioCoatcheck),
    "raw": ("psycopg", AioRaw),
}
