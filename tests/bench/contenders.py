"""
Who is measured on Redis: coatcheck, the raw driver, and others where they are installed.

Each has `store`, `fetch` and, for waking up, `listen` before the store and `wake` after it; some
have `store_many` and `get_many`. What is imported depends on who is asked for, because the
processes that wait are measured as well.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

PREFIX = "celery-task-meta-"
EXPIRES = 86_400
VALUE = {"answer": 42, "size": [640, 480], "name": "thumbnail"}
PATIENCE = 30.0


def rows(count: int) -> list[dict[str, Any]]:
    """
    Return a value as queries give it, of about 100 bytes of JSON a row.
    """
    return [
        {"id": i, "name": f"thumbnail-{i:07}", "size": [640, 480], "ratio": i / 7, "kept": True}
        for i in range(count)
    ]


#: What is stored: by what it is called, and how many operations of it are one sample.
SIZES: Mapping[str, tuple[Any, float]] = {
    "": (VALUE, 1.0),
    " 10 KB": (rows(98), 0.25),
    " 1 MB": (rows(9_800), 0.01),
}


def document(task_id: str, value: Any = VALUE) -> dict[str, Any]:
    """
    Return a record as one writes it by hand: Celery's fields.
    """
    return {
        "status": "SUCCESS",
        "result": value,
        "traceback": None,
        "children": None,
        "date_done": datetime.now(UTC).isoformat(),
        "task_id": task_id,
    }


def touch(data: bytes) -> None:
    """
    Read a record by hand.
    """
    found = json.loads(data)
    _ = found["status"], found["result"]


class Contender:
    """
    What all have.
    """

    #: What is stored.
    value: Any = VALUE


class Coatcheck(Contender):
    """
    This project.
    """

    def __init__(self, url: str) -> None:
        import coatcheck

        self.results = coatcheck.by_url(url, expires=EXPIRES)

    def store(self, task_id: str) -> None:
        self.results.store_result(task_id, self.value)

    def fetch(self, task_id: str) -> None:
        meta = self.results.get_task_meta(task_id)
        _ = meta.status, meta.result

    def store_many(self, task_ids: Sequence[str]) -> None:
        self.results.store_many(dict.fromkeys(task_ids, self.value))

    def get_many(self, task_ids: Sequence[str]) -> None:
        for meta in self.results.get_many(task_ids).values():
            _ = meta.status, meta.result

    def listen(self, task_id: str) -> None:
        """
        A wait needs no preparation.
        """

    def wake(self, task_id: str) -> None:
        _ = self.results.wait_for(task_id, timeout=PATIENCE).result

    def close(self) -> None:
        self.results.close()


class Raw(Contender):
    """
    redis-py by hand: what a project has that writes its own.
    """

    def __init__(self, url: str) -> None:
        import redis

        self.client = redis.Redis.from_url(url)
        self.subscriber = self.client.pubsub(ignore_subscribe_messages=True)

    def store(self, task_id: str) -> None:
        with self.client.pipeline(transaction=False) as pipeline:
            self._add(pipeline, task_id)
            pipeline.execute()

    def _add(self, pipeline: Any, task_id: str) -> None:
        key, data = PREFIX + task_id, json.dumps(document(task_id, self.value))
        pipeline.set(key, data, ex=EXPIRES)
        pipeline.publish(key, data)

    def fetch(self, task_id: str) -> None:
        touch(self.client.get(PREFIX + task_id))

    def store_many(self, task_ids: Sequence[str]) -> None:
        with self.client.pipeline(transaction=False) as pipeline:
            for task_id in task_ids:
                self._add(pipeline, task_id)
            pipeline.execute()

    def get_many(self, task_ids: Sequence[str]) -> None:
        for data in self.client.mget([PREFIX + task_id for task_id in task_ids]):
            touch(data)

    def listen(self, task_id: str) -> None:
        self.subscriber.subscribe(PREFIX + task_id)
        self.subscriber.get_message(timeout=PATIENCE)  # the confirmation

    def wake(self, task_id: str) -> None:
        while self.subscriber.get_message(timeout=PATIENCE) is None:
            pass
        self.fetch(task_id)
        self.subscriber.unsubscribe()

    def close(self) -> None:
        self.subscriber.close()
        self.client.close()


class Celery(Contender):
    """
    Celery's result backend.
    """

    def __init__(self, url: str) -> None:
        from celery import Celery as App

        self.app = App("bench", backend=url, set_as_current=False)
        self.app.conf.result_expires = EXPIRES

    def store(self, task_id: str) -> None:
        self.app.backend.store_result(task_id, self.value, "SUCCESS")

    def fetch(self, task_id: str) -> None:
        result = self.app.AsyncResult(task_id)
        _ = result.status, result.result

    def listen(self, task_id: str) -> None:
        self.waited = self.app.AsyncResult(task_id)

    def wake(self, task_id: str) -> None:
        self.waited.get(timeout=PATIENCE)

    def close(self) -> None:
        self.app.close()


class Dramatiq(Contender):
    """
    dramatiq's result backend.
    """

    def __init__(self, url: str) -> None:
        from dramatiq import Message
        from dramatiq.results.backends import RedisBackend

        self.backend = RedisBackend(url=url)
        self._message = lambda id_: Message("q", "actor", (), {}, {}, message_id=id_)

    def store(self, task_id: str) -> None:
        self.backend.store_result(self._message(task_id), self.value, EXPIRES * 1000)

    def fetch(self, task_id: str) -> None:
        # Not without blocking: then it would only look whether there is one.
        self.backend.get_result(self._message(task_id))

    def listen(self, task_id: str) -> None:
        """
        It has no subscription.
        """

    def wake(self, task_id: str) -> None:
        timeout = int(PATIENCE * 1000)
        self.backend.get_result(self._message(task_id), block=True, timeout=timeout)

    def close(self) -> None:
        self.backend.client.close()


class RQ(Contender):
    """
    RQ's results: a stream for each job.
    """

    def __init__(self, url: str) -> None:
        import redis
        from rq.job import Job
        from rq.results import Result

        self.client = redis.Redis.from_url(url)
        self._job = lambda id_: Job(id=id_, connection=self.client)
        self._result: Any = Result

    def store(self, task_id: str) -> None:
        kind = self._result.Type.SUCCESSFUL
        self._result.create(self._job(task_id), kind, ttl=EXPIRES, return_value=self.value)

    def fetch(self, task_id: str) -> None:
        result = self._job(task_id).latest_result()
        _ = result.type, result.return_value

    def listen(self, task_id: str) -> None:
        """
        It has no subscription.
        """

    def wake(self, task_id: str) -> None:
        _ = self._job(task_id).latest_result(timeout=int(PATIENCE)).return_value

    def close(self) -> None:
        self.client.close()


class Huey(Contender):
    """
    huey's results, which are told by a list for each.
    """

    def __init__(self, url: str) -> None:
        from huey import RedisExpireHuey

        options = {"url": url, "expire_time": EXPIRES, "notify_result": True}
        self.huey = RedisExpireHuey("bench", **options)

    def store(self, task_id: str) -> None:
        self.huey.put_result(task_id, self.value)

    def fetch(self, task_id: str) -> None:
        self.huey.result(task_id, preserve=True)

    def listen(self, task_id: str) -> None:
        """
        It has no subscription.
        """

    def wake(self, task_id: str) -> None:
        self.huey.result(task_id, blocking=True, timeout=PATIENCE)

    def close(self) -> None:
        self.huey.storage.conn.close()


# -- asyncio ----------------------------------------------------------------------------------


class AioCoatcheck(Contender):
    """
    This project, for asyncio.
    """

    def __init__(self, url: str) -> None:
        import coatcheck.aio

        self.results = coatcheck.aio.by_url(url, expires=EXPIRES)

    async def store(self, task_id: str) -> None:
        await self.results.store_result(task_id, self.value)

    async def fetch(self, task_id: str) -> None:
        meta = await self.results.get_task_meta(task_id)
        _ = meta.status, meta.result

    async def store_many(self, task_ids: Sequence[str]) -> None:
        await self.results.store_many(dict.fromkeys(task_ids, self.value))

    async def get_many(self, task_ids: Sequence[str]) -> None:
        for meta in (await self.results.get_many(task_ids)).values():
            _ = meta.status, meta.result

    async def listen(self, task_id: str) -> None:
        """
        A wait needs no preparation.
        """

    async def wake(self, task_id: str) -> None:
        _ = (await self.results.wait_for(task_id, timeout=PATIENCE)).result

    async def close(self) -> None:
        await self.results.close()


class AioRaw(Contender):
    """
    redis.asyncio by hand.
    """

    def __init__(self, url: str) -> None:
        import redis.asyncio

        self.client = redis.asyncio.Redis.from_url(url)
        self.subscriber = self.client.pubsub(ignore_subscribe_messages=True)

    async def store(self, task_id: str) -> None:
        async with self.client.pipeline(transaction=False) as pipeline:
            self._add(pipeline, task_id)
            await pipeline.execute()

    _add = Raw._add

    async def fetch(self, task_id: str) -> None:
        touch(await self.client.get(PREFIX + task_id))

    async def store_many(self, task_ids: Sequence[str]) -> None:
        async with self.client.pipeline(transaction=False) as pipeline:
            for task_id in task_ids:
                self._add(pipeline, task_id)
            await pipeline.execute()

    async def get_many(self, task_ids: Sequence[str]) -> None:
        for data in await self.client.mget([PREFIX + task_id for task_id in task_ids]):
            touch(data)

    async def listen(self, task_id: str) -> None:
        await self.subscriber.subscribe(PREFIX + task_id)
        await self.subscriber.get_message(timeout=PATIENCE)  # the confirmation

    async def wake(self, task_id: str) -> None:
        while await self.subscriber.get_message(timeout=PATIENCE) is None:
            pass
        await self.fetch(task_id)
        await self.subscriber.unsubscribe()

    async def close(self) -> None:
        await self.subscriber.aclose()
        await self.client.aclose()


class Taskiq(Contender):
    """
    taskiq-redis's result backend.
    """

    #: Looks every 0.2 s; a few of its waits say it all.
    polls = True

    def __init__(self, url: str) -> None:
        from taskiq import TaskiqResult
        from taskiq_redis import RedisAsyncResultBackend

        self.backend: Any = RedisAsyncResultBackend(url, result_ex_time=EXPIRES)
        self._result = lambda: TaskiqResult(
            is_err=False, return_value=self.value, execution_time=0.0
        )

    async def store(self, task_id: str) -> None:
        await self.backend.set_result(task_id, self._result())

    async def fetch(self, task_id: str) -> None:
        result = await self.backend.get_result(task_id)
        _ = result.is_err, result.return_value

    async def listen(self, task_id: str) -> None:
        """
        It has no subscription.
        """

    async def wake(self, task_id: str) -> None:
        from taskiq.task import AsyncTaskiqTask

        await AsyncTaskiqTask(task_id, self.backend).wait_result(timeout=PATIENCE)

    async def close(self) -> None:
        await self.backend.shutdown()


class Arq(Contender):
    """
    arq's results, which its worker writes.
    """

    #: Looks every 0.5 s.
    polls = True

    def __init__(self, url: str) -> None:
        from arq.connections import ArqRedis

        self.client: Any = ArqRedis.from_url(url)

    async def store(self, task_id: str) -> None:
        from arq.constants import default_queue_name, result_key_prefix
        from arq.jobs import serialize_result

        data = serialize_result(
            "task", (), {}, 1, 0, True, self.value, 0, 0, "", default_queue_name, task_id
        )
        await self.client.psetex(result_key_prefix + task_id, EXPIRES * 1000, data)

    async def fetch(self, task_id: str) -> None:
        info = await self._job(task_id).result_info()
        _ = info.success, info.result

    def _job(self, task_id: str) -> Any:
        from arq.jobs import Job

        return Job(task_id, self.client)

    async def listen(self, task_id: str) -> None:
        """
        It has no subscription, and waits for what is in its queue.
        """
        from arq.constants import default_queue_name

        await self.client.zadd(default_queue_name, {task_id: 0})

    async def wake(self, task_id: str) -> None:
        await self._job(task_id).result(timeout=PATIENCE)

    async def close(self) -> None:
        await self.client.aclose()


#: By name: which module has to be there, and the contender.
SYNC: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "coatcheck": ("coatcheck", Coatcheck),
    "raw": ("redis", Raw),
    "celery": ("celery", Celery),
    "dramatiq": ("dramatiq", Dramatiq),
    "rq": ("rq", RQ),
    "huey": ("huey", Huey),
}
AIO: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "coatcheck": ("coatcheck", AioCoatcheck),
    "raw": ("redis", AioRaw),
    "taskiq": ("taskiq_redis", Taskiq),
    "arq": ("arq", Arq),
}


def installed(known: Mapping[str, tuple[str, Callable[[str], Any]]]) -> list[str]:
    """
    Return the names of those in *known* that can be imported.
    """
    return [name for name, (module, _) in known.items() if _imports(module)]


def _imports(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def missing() -> list[str]:
    """
    Return the names of those that cannot be imported.
    """
    return [name for known in (SYNC, AIO) for name in known if name not in installed(known)]
