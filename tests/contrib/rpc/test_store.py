"""
What RabbitMQ's replies do beyond the contract.
"""

from __future__ import annotations

import gc
import json
import threading

import pytest
from support.processes import free_port

import coatcheck
import coatcheck.aio
import coatcheck_rpc
from coatcheck.testing.child import children
from coatcheck.testing.sides import until as aio_until
from coatcheck.testing.threads import until
from coatcheck_rpc.messages import properties_of
from coatcheck_rpc.settings import Settings


def test_a_worker_sends_to_the_reader(rabbitmq, results):
    """
    A worker that knows the reader's queue stores into its mailbox, from the first state to the last.
    """
    queue = coatcheck_rpc.reply_to(results)
    with coatcheck.by_url(rabbitmq.url, reply_to=queue) as worker:
        with worker.running("t") as task:
            task.progress(1, 2)
            assert until(lambda: results.get_state("t") == "PROGRESS")
            task.result = 579

        assert task.won
        assert 579 == results.AsyncResult("t").get(timeout=10)


async def test_the_same_for_asyncio(rabbitmq, aio_results):
    """
    The queue's name is awaited, and a wait is woken.
    """
    queue = await coatcheck_rpc.reply_to(aio_results)
    async with coatcheck.aio.by_url(rabbitmq.url, reply_to=queue) as worker:
        assert await worker.store_result("t", 579)

        assert 579 == await aio_results.AsyncResult("t").get(timeout=10)


def test_signs_of_life(rabbitmq, results):
    """
    A worker that sends gives signs of life, and is noticed when they end.
    """
    queue = coatcheck_rpc.reply_to(results)
    beats = set()

    def beat():
        beats.add((results.get_task_meta("t").heartbeat or {}).get("beat"))
        return len(beats - {None}) > 2

    with coatcheck.by_url(rabbitmq.url, reply_to=queue) as worker:
        with worker.running("t", heartbeat=0.05):
            assert until(beat)
        worker.store_result("lost", None, "STARTED", heartbeat={"every": 0.05, "beat": 1})

        with pytest.raises(coatcheck.WorkerLostError):
            results.AsyncResult("lost").get(timeout=30)


async def test_signs_of_life_for_asyncio(rabbitmq, aio_results):
    """
    The same.
    """
    queue = await coatcheck_rpc.reply_to(aio_results)
    beats = set()

    async def beat():
        beats.add(((await aio_results.get_task_meta("t")).heartbeat or {}).get("beat"))
        return len(beats - {None}) > 2

    async with coatcheck.aio.by_url(rabbitmq.url, reply_to=queue) as worker:
        async with worker.running("t", heartbeat=0.05):
            assert await aio_until(beat)


async def test_both_colours_share_the_mailbox(results, aio_results):
    """
    Both sides of a process see the same records.
    """
    results.store_result("t", 1)

    assert 1 == await aio_results.get_result("t")


def test_the_first_ready_reply_wins(rabbitmq, results):
    """
    Of several replies from anywhere the first ready one stays; the sender names the states that it protects.
    """
    queue = coatcheck_rpc.reply_to(results)
    with coatcheck.by_url(rabbitmq.url, reply_to=queue) as worker:
        worker.mark_as_failure("t", ValueError("first"))
        worker.store_result("t", "second")
        worker.mark_as_started("t")
        worker.store_result("end", 1)
        results.wait_for("end", 10)
        assert "FAILURE" == results.get_state("t")

        worker.store_result("t", "by Celery's rule", protect={"SUCCESS"})
        assert until(lambda: results.get_state("t") == "SUCCESS")


def test_who_sends_cannot_look(rabbitmq, queue):
    """
    A client with `reply_to` says that it has nothing to read.
    """
    with coatcheck.by_url(rabbitmq.url, reply_to=queue) as worker:
        for look in (
            lambda: worker.get_result("t"),
            lambda: worker.wait_for("t", 5),
            lambda: worker.forget("t"),
            lambda: list(worker.scan()),
            lambda: worker.ResultSet(["t"]).save("g"),
        ):
            with pytest.raises(coatcheck.UnsupportedError, match="reply_to"):
                look()


async def test_who_sends_cannot_look_for_asyncio(rabbitmq, queue):
    """
    The same.
    """
    async with coatcheck.aio.by_url(rabbitmq.url, reply_to=queue) as worker:
        with pytest.raises(coatcheck.UnsupportedError, match="reply_to"):
            await worker.get_result("t")
        with pytest.raises(coatcheck.UnsupportedError, match="reply_to"):
            await worker.wait_for("t", 5)


def test_a_process_sends(rabbitmq, results):
    """
    A worker in a process of its own replies to the queue.
    """
    url = f"{rabbitmq.url}?reply_to={coatcheck_rpc.reply_to(results)}"
    with children([("store", (url, "t", 579))]) as (worker,):
        worker.go()
        assert worker.answer()

    assert 579 == results.AsyncResult("t").get(timeout=10)


def test_what_cannot_be_decoded_blocks_nobody(rabbitmq, results):
    """
    A damaged message, and one of another serializer, are errors of their own ids alone.
    """
    queue = coatcheck_rpc.reply_to(results)
    rabbitmq.publish(queue, b"\xff no record", correlation_id="damaged")
    rabbitmq.publish(queue, b"{}", correlation_id="empty", content_type="application/json")
    rabbitmq.publish(queue, b"of no task at all")
    with coatcheck.by_url(rabbitmq.url, reply_to=queue) as worker:
        worker.store_result("fine", 1)
    assert 1 == results.AsyncResult("fine").get(timeout=10)

    metas = results.get_many(["damaged", "empty", "fine"])
    assert [True, True, False] == [
        isinstance(meta.error, coatcheck.DecodeError) for meta in metas.values()
    ]


def test_the_queue_is_celerys(rabbitmq, results):
    """
    The queue is declared as Celery 5.7 does: the same declaration is accepted, another one is not.
    """
    queue = coatcheck_rpc.reply_to(results)
    with rabbitmq.connection() as connection:
        connection.channel().queue_declare(
            queue, durable=True, auto_delete=True, arguments={"x-expires": 86_400_000}
        )
        listed = rabbitmq.control(
            "list_queues", "name", "durable", "auto_delete", "exclusive", "arguments"
        )
        line = next(line for line in listed.splitlines() if line.startswith(queue))

    assert ["true", "true", "false"] == line.split("\t")[1:4]
    assert '[{"x-expires",86400000}]' == line.split("\t")[4].strip()


def test_the_message_is_celerys(rabbitmq, queue):
    """
    A message has the properties of Celery's messages, and the record as its body.
    """
    with rabbitmq.connection() as connection:
        channel = connection.channel()
        channel.queue_declare(queue)
        with coatcheck.by_url(rabbitmq.url, reply_to=queue, persistent=True) as worker:
            worker.store_result("t", 579)
        _, properties, body = channel.basic_get(queue, auto_ack=True)

    assert ("t", "application/json", "utf-8", 2, 0) == (
        properties.correlation_id,
        properties.content_type,
        properties.content_encoding,
        properties.delivery_mode,
        properties.priority,
    )
    document = json.loads(body)
    assert ("SUCCESS", 579, "t") == (document["status"], document["result"], document["task_id"])


def test_the_queue_goes_with_its_reader(rabbitmq, queue):
    """
    When the last client of a process closes, its queue and its thread are gone.
    """
    first, second = (coatcheck.by_url(rabbitmq.url, queue=queue) for _ in range(2))
    first.store_result("t", 1)
    second.store_result("u", 1)
    first.close()
    assert 1 == rabbitmq.open_connections()
    second.close()

    assert until(lambda: rabbitmq.open_connections() == 0)
    assert until(lambda: not any(t.name == "rabbitmq-line" for t in threading.enumerate()))
    assert queue not in rabbitmq.control("list_queues", "name")


def test_what_is_dropped_is_given_up(rabbitmq, queue):
    """
    A client that goes without closing leaves no connection behind.
    """
    results = coatcheck.by_url(rabbitmq.url, queue=queue)
    results.store_result("t", 1)
    assert 1 == rabbitmq.open_connections()
    del results
    gc.collect()

    assert until(lambda: rabbitmq.open_connections() == 0)


def test_life_of_a_foreign_reply(rabbitmq, queue):
    """
    What Celery sent is kept as long as the queue would be.
    """
    with coatcheck.by_url(rabbitmq.url, queue=queue, queue_expires=1) as results:
        body = json.dumps({"status": "SUCCESS", "result": 1}).encode()
        rabbitmq.publish(coatcheck_rpc.reply_to(results), body, correlation_id="t")
        assert 1 == results.AsyncResult("t").get(timeout=10)

        assert until(lambda: not results.exists("t"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("rpc://h?queue=a&reply_to=b", "one of them"),
        ("rpc://h?queue=amq.x", "amq"),
        ("rpc://h?queue_expires=0", "queue_expires"),
        ("rpc://h?queue_expires=5000000", "49 days"),
        ("rpc://h?heartbeat=0", "heartbeat"),
        ("rpc://h:port", "host or port"),
        ("rpc+redis://h", "no rpc\\+redis"),
        ("rpc://h?ssl_ca_certs=x", "no option"),
        ("rpc://h?key_prefix=x", "key_prefix"),
    ],
)
def test_wrong_urls(url, message):
    """
    Impossible options are refused before anything connects.
    """
    with pytest.raises(coatcheck.ConfigurationError, match=message):
        coatcheck.by_url(url)


@pytest.mark.parametrize(
    ("url", "nodes", "virtual_host", "user"),
    [
        ("rpc://", [("localhost", 5672)], "/", "guest"),
        ("rpc://u:p%40@h:1//", [("h", 1)], "/", "u"),
        ("rpc://u:p@h/v%2Fw", [("h", 5672)], "v/w", "u"),
        ("rpc+amqps://a,b:2/v", [("a", 5671), ("b", 2)], "v", "guest"),
        ("rpc://[::1]:5", [("::1", 5)], "/", "guest"),
    ],
)
def test_urls(url, nodes, virtual_host, user):
    """
    Hosts, virtual host and user are read as Celery reads them.
    """
    settings = Settings(coatcheck._settings.url.URL(url), {}, operation_timeout=5)

    assert (nodes, virtual_host, user) == (settings.nodes, settings.virtual_host, settings.user)


@pytest.mark.parametrize(
    ("settings", "url", "options"),
    [
        ({}, "rpc://guest:guest@localhost:5672//", {}),
        ({"broker_url": "amqp://u:p@h/v"}, "rpc://u:p@h/v", {}),
        ({"broker_url": ["pyamqp://h1//", "x"]}, "rpc://h1//", {}),
        ({"broker_url": "amqps://h"}, "rpc+amqps://h", {}),
        (
            {"broker_url": "amqp://h", "broker_use_ssl": {"ca_certs": "f", "cert_reqs": 2}},
            "rpc+amqps://h",
            {"ssl_ca_certs": "f", "ssl_cert_reqs": "required"},
        ),
        (
            {"broker_url": "amqp://h", "result_expires": 60, "result_persistent": True},
            "rpc://h",
            {"queue_expires": 60, "persistent": True},
        ),
    ],
)
def test_celery_settings(settings, url, options):
    """
    Replies go by way of Celery's broker.
    """
    from coatcheck_rpc.sync import RPCBackend

    made = RPCBackend.celery_options(coatcheck._settings.url.URL("rpc://"), settings)

    assert (url, options) == made


def test_a_broker_of_another_kind():
    """
    A broker that does not speak AMQP is named, without its password.
    """
    config = {"result_backend": "rpc://", "broker_url": "redis://:secret@h/0"}
    with pytest.raises(coatcheck.ConfigurationError, match="none that speaks AMQP") as caught:
        coatcheck.from_celery_config(config)

    assert "secret" not in str(caught.value)


def test_only_rpc_has_a_queue():
    """
    Results of another store have no reply queue.
    """
    with pytest.raises(TypeError, match="rpc://"):
        coatcheck_rpc.reply_to(coatcheck.by_url("memory://"))


def test_no_broker(queue):
    """
    Nobody can be told a queue that is not there.
    """
    url = f"rpc://127.0.0.1:{free_port()}"
    with (
        coatcheck.by_url(url, queue=queue, operation_timeout=0.3) as results,
        pytest.raises(coatcheck.BackendUnavailableError),
    ):
        coatcheck_rpc.reply_to(results)


def test_long_ids_fit(results):
    """
    The correlation id of a long id is short, and the record is found under the long one.
    """
    from coatcheck_rpc.messages import Mail, mail_of

    mail = Mail("☃" * 300, b"{}", frozenset(), None, None, "token")
    properties = properties_of(mail, results.backend.codec, persistent=False)

    assert len(properties.correlation_id) < 255
    assert mail == mail_of(properties, b"{}", life=1)
