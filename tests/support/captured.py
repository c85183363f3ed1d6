"""
Stores that hold their captured contents, put there without coatcheck.
"""

from __future__ import annotations

import base64
import shutil
import socket
import uuid
from pathlib import Path
from typing import Any, Protocol

import pika
import pymongo
import redis
from bson.raw_bson import RawBSONDocument

import coatcheck
import coatcheck_rpc
from coatcheck._settings.url import URL
from coatcheck.testing.threads import until
from coatcheck_rpc.mailbox import mailbox_of
from coatcheck_rpc.settings import Settings

from .rabbitmq import RabbitMQ

Row = dict[str, Any]


class Captured(Protocol):
    """
    One store, with one row of the capture at a time.
    """

    #: Where coatcheck finds it.
    url: str

    def load(self, row: Row) -> None:
        """
        Put the contents of the row into the store, and nothing else.
        """


class CapturedRedis:
    """
    A Redis server.
    """

    def __init__(self, client: redis.Redis, url: str) -> None:
        self._client = client
        self.url = url

    def load(self, row: Row) -> None:
        pipe = self._client.pipeline(transaction=False)
        pipe.flushdb()
        for item in row["raw"]["keys"]:
            key, members = item["key"], item.get("members", [])
            if item["type"] == "string":
                pipe.set(key, base64.b64decode(item["value"]))
            elif item["type"] == "zset":
                pipe.zadd(key, {base64.b64decode(value): score for value, score in members})
            elif item["type"] == "set":
                pipe.sadd(key, *map(base64.b64decode, members))
            else:
                pipe.rpush(key, *map(base64.b64decode, members))
        pipe.execute()


class CapturedFiles:
    """
    A directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.url = f"file://{directory}"

    def load(self, row: Row) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir()
        for item in row["raw"]["files"]:
            (self._directory / item["name"]).write_bytes(base64.b64decode(item["value"]))


class CapturedMemcached:
    """
    A memcached; items keep the flags that Celery's client gave them.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._replies = self._socket.makefile("rb")
        self._keys: list[str] = []
        self.url = f"cache+memcached://127.0.0.1:{port}/"

    def load(self, row: Row) -> None:
        for key in self._keys:
            self._ask(f"delete {key}\r\n".encode())
        items = [item for item in row["raw"]["items"] if not item.get("missing")]
        self._keys = [item["key"] for item in items]
        for item in items:
            data = base64.b64decode(item["value"])
            head = f"set {item['key']} {item['flags']} 0 {len(data)}\r\n".encode()
            assert self._ask(head + data + b"\r\n") == b"STORED\r\n"

    def _ask(self, request: bytes) -> bytes:
        self._socket.sendall(request)
        return self._replies.readline()

    def close(self) -> None:
        """
        Give up the connection.
        """
        self._replies.close()
        self._socket.close()


class CapturedRabbitMQ:
    """
    A broker, with a queue that coatcheck reads.
    """

    def __init__(self, server: RabbitMQ) -> None:
        self.url = f"{server.url}//?queue={uuid.uuid4()}"
        self._results = coatcheck.by_url(self.url)
        self._queue = coatcheck_rpc.reply_to(self._results)
        self._connection = server.connection()
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        settings = Settings(URL(self.url), {}, operation_timeout=5)
        self._mailbox = mailbox_of(settings.address, settings.queue, life=settings.queue_expires)

    def load(self, row: Row) -> None:
        self._mailbox.delete(list(self._mailbox.scan("")))
        arrived = self._mailbox.arrivals
        messages = row["raw"].get("messages", [])
        for message in messages:
            given = dict(message["properties"])
            given["headers"] = given.pop("application_headers")
            body, properties = base64.b64decode(message["body"]), pika.BasicProperties(**given)
            self._channel.basic_publish("", self._queue, body, properties, mandatory=True)
        assert until(lambda: self._mailbox.arrivals - arrived == len(messages))

    def close(self) -> None:
        """
        Give up the connections.
        """
        self._connection.close()
        self._results.close()


class CapturedMongo:
    """
    A MongoDB, with the collections that Celery uses by default.
    """

    def __init__(self, client: pymongo.MongoClient[Any], url: str) -> None:
        self._database = client[url.rpartition("/")[2]]
        self.url = url

    def load(self, row: Row) -> None:
        for name in ("celery_taskmeta", "celery_groupmeta"):
            self._database[name].delete_many({})
        for item in row["raw"].get("documents", []):
            document = RawBSONDocument(base64.b64decode(item["bson"]))
            self._database[item["collection"]].insert_one(document)
