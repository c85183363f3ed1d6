"""
Who is measured on RabbitMQ: coatcheck, and pika or aio-pika by hand. See `contenders`.

Each sends to a queue that it reads itself, or that another process reads: `store` sends, `trip`
sends and sees it arrive.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aio_pika
import pika
from contenders import EXPIRES, PATIENCE, VALUE, document, touch

ARGUMENTS = {"x-expires": 86_400_000}


class Coatcheck:
    """
    This project: one client that sends, one that reads.
    """

    QUEUE = "bench-coatcheck"

    def __init__(self, url: str) -> None:
        import coatcheck

        self._reader = coatcheck.by_url(url, expires=EXPIRES, queue=self.QUEUE)
        self._sender = coatcheck.by_url(url, expires=EXPIRES, reply_to=self.QUEUE)

    def read(self) -> None:
        self._reader.exists("warm")

    def store(self, task_id: str) -> None:
        self._sender.store_result(task_id, VALUE)

    def store_many(self, task_ids: Sequence[str]) -> None:
        self._sender.store_many(dict.fromkeys(task_ids, VALUE))

    def trip(self, task_id: str) -> None:
        self._reader.store_result(task_id, VALUE)

    def listen(self, task_id: str) -> None:
        self.read()

    def wake(self, task_id: str) -> None:
        _ = self._reader.wait_for(task_id, timeout=PATIENCE).result

    def close(self) -> None:
        self._sender.close()
        self._reader.close()


class AioCoatcheck:
    """
    Its side for asyncio.
    """

    QUEUE = "bench-coatcheck-aio"

    def __init__(self, url: str) -> None:
        import coatcheck.aio

        self._reader = coatcheck.aio.by_url(url, expires=EXPIRES, queue=self.QUEUE)
        self._sender = coatcheck.aio.by_url(url, expires=EXPIRES, reply_to=self.QUEUE)

    async def read(self) -> None:
        await self._reader.exists("warm")

    async def store(self, task_id: str) -> None:
        await self._sender.store_result(task_id, VALUE)

    async def store_many(self, task_ids: Sequence[str]) -> None:
        await self._sender.store_many(dict.fromkeys(task_ids, VALUE))

    async def trip(self, task_id: str) -> None:
        await self._reader.store_result(task_id, VALUE)

    async def listen(self, task_id: str) -> None:
        await self.read()

    async def wake(self, task_id: str) -> None:
        _ = (await self._reader.wait_for(task_id, timeout=PATIENCE)).result

    async def close(self) -> None:
        await self._sender.close()
        await self._reader.close()


class Raw:
    """
    pika by hand: a connection that blocks, with confirmations.
    """

    QUEUE = "bench-pika"

    def __init__(self, url: str) -> None:
        port = int(url.rpartition(":")[2])
        self._connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        self._arrived: dict[str, bytes] = {}

    def read(self) -> None:
        self._channel.queue_declare(self.QUEUE, durable=True, auto_delete=True, arguments=ARGUMENTS)
        self._channel.basic_consume(self.QUEUE, self._take, auto_ack=True)

    def _take(self, _channel: object, _method: object, properties: Any, body: bytes) -> None:
        self._arrived[properties.correlation_id] = body

    def store(self, task_id: str) -> None:
        properties = pika.BasicProperties(correlation_id=task_id, content_type="application/json")
        body = json.dumps(document(task_id)).encode()
        self._channel.basic_publish("", self.QUEUE, body, properties, mandatory=True)

    def store_many(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            self.store(task_id)

    def trip(self, task_id: str) -> None:
        self.store(task_id)
        self.wake(task_id)

    def listen(self, task_id: str) -> None:
        if not self._channel.consumer_tags:
            self.read()

    def wake(self, task_id: str) -> None:
        while task_id not in self._arrived:
            self._connection.process_data_events(time_limit=PATIENCE)
        touch(self._arrived.pop(task_id))

    def close(self) -> None:
        self._connection.close()


class AioRaw:
    """
    aio-pika by hand.
    """

    QUEUE = "bench-aio-pika"

    def __init__(self, url: str) -> None:
        self._url = url.replace("rpc://", "amqp://")
        self._channel: Any = None
        self._reads = False
        self._arrived: dict[str, asyncio.Future[bytes]] = {}

    async def _opened(self) -> Any:
        if self._channel is None:
            self._connection = await aio_pika.connect(self._url)
            self._channel = await self._connection.channel(publisher_confirms=True)
        return self._channel

    async def read(self) -> None:
        channel = await self._opened()
        self._reads = True
        queue = await channel.declare_queue(
            self.QUEUE, durable=True, auto_delete=True, arguments=ARGUMENTS
        )
        await queue.consume(self._take, no_ack=True)

    def _future(self, task_id: str) -> asyncio.Future[bytes]:
        loop = asyncio.get_running_loop()
        return self._arrived.setdefault(task_id, loop.create_future())

    async def _take(self, message: Any) -> None:
        self._future(message.correlation_id).set_result(message.body)

    async def store(self, task_id: str) -> None:
        body = json.dumps(document(task_id)).encode()
        message = aio_pika.Message(body, correlation_id=task_id, content_type="application/json")
        exchange = (await self._opened()).default_exchange
        await exchange.publish(message, self.QUEUE, mandatory=True)

    async def store_many(self, task_ids: Sequence[str]) -> None:
        await asyncio.gather(*map(self.store, task_ids))

    async def trip(self, task_id: str) -> None:
        await self.store(task_id)
        await self.wake(task_id)

    async def listen(self, task_id: str) -> None:
        if not self._reads:
            await self.read()

    async def wake(self, task_id: str) -> None:
        touch(await self._future(task_id))
        del self._arrived[task_id]

    async def close(self) -> None:
        if self._channel is not None:
            await self._connection.close()


#: Whether each reads what it stored itself.
APART = False
#: What part of the speed by hand is aimed at.
TARGETS: Mapping[str, float] = {"store": 0.9, "trip": 0.9}
SYNC: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "coatcheck": ("coatcheck", Coatcheck),
    "raw": ("pika", Raw),
}
AIO: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "coatcheck": ("coatcheck", AioCoatcheck),
    "raw": ("aio-pika", AioRaw),
}
