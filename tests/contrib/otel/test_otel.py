"""
Spans and metrics of operations on a real store, on both sides.
"""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from opentelemetry.trace import SpanKind, StatusCode

import coatcheck
import coatcheck.aio
from coatcheck_otel.conventions import server_of, system_of


def points(telemetry, name, *keys):
    """Return the counts of a metric by the values of *keys*."""
    counts = {}
    for point in telemetry.metrics[name]:
        values = tuple(point.attributes.get(key) for key in keys)
        counts[values] = point.count if hasattr(point, "count") else point.value
    return counts


def linked(span):
    return [link.context.span_id for link in span.links]


def check(telemetry, redis):
    """Check the telemetry of the operations below, which are the same on both sides."""
    work, port = telemetry.one("work"), int(redis.rpartition(":")[2].partition("/")[0])
    store = next(span for span in telemetry.spans if span.name == "store redis")
    wait = next(span for span in telemetry.spans if span.name == "wait redis")
    read = telemetry.one("read redis")
    server = {"server.address": "127.0.0.1", "server.port": port}

    assert work.context.span_id == store.parent.span_id
    assert SpanKind.CLIENT == store.kind
    assert {
        "db.system.name": "redis",
        "db.operation.name": "store",
        "coatcheck.task.id": "a",
        "coatcheck.task.state": "SUCCESS",
        "coatcheck.won": True,
        **server,
    } == store.attributes
    assert store.start_time <= store.end_time <= work.end_time
    assert {
        "messaging.system": "coatcheck",
        "messaging.operation.name": "wait",
        "messaging.operation.type": "receive",
        "messaging.message.id": "a",
        "coatcheck.task.state": "SUCCESS",
        **server,
    } == wait.attributes
    assert [work.context.span_id] == linked(wait)
    assert telemetry.one("request").context.span_id == wait.parent.span_id
    assert [work.context.span_id] * 2 == linked(read)
    assert (3, 2) == (
        read.attributes["db.operation.batch.size"],
        read.attributes["db.response.returned_rows"],
    )
    assert "a" == telemetry.one("forget redis").attributes["coatcheck.task.id"]

    errors = [span for span in telemetry.spans if not span.status.is_ok]
    kinds = [(span.name, span.attributes["error.type"]) for span in errors]
    assert [("store redis", "EncodeError"), ("wait redis", "WaitTimeoutError")] == kinds
    assert StatusCode.ERROR is errors[0].status.status_code

    key = ("db.operation.name", "error.type")
    assert {
        ("store", None): 4,
        ("store", "EncodeError"): 1,
        ("read", None): 1,
        ("forget", None): 1,
    } == points(telemetry, "db.client.operation.duration", *key)
    assert {(None,): 1, ("WaitTimeoutError",): 1} == points(
        telemetry, "messaging.client.operation.duration", "error.type"
    )
    assert {
        ("SUCCESS", True, None): 1,
        ("SUCCESS", False, None): 1,
        ("FAILURE", True, "builtins.ValueError"): 1,
        ("FAILURE", True, "coatcheck.errors.EncodeError"): 1,
    } == points(
        telemetry, "coatcheck.records", "coatcheck.task.state", "coatcheck.won", "error.type"
    )


def test_what_is_exported(telemetry, redis):
    """Each operation is a span and a measurement; a waiter's span links to the worker's."""
    with coatcheck.by_url(redis, plugins=[telemetry.plugin]) as results:
        with telemetry.block("work"):
            results.store_result("a", 1)
            results.store_result("a", 2)
            results.mark_as_failure("b", ValueError("no"))
            with pytest.raises(coatcheck.EncodeError):
                results.store_result("c", object())
        with telemetry.block("request"):
            results.wait_for("a", 10)
            results.get_many(["a", "b", "x"])
            results.forget("a")
            with pytest.raises(coatcheck.WaitTimeoutError):
                results.wait_for("x", 0)

    check(telemetry, redis)


async def test_what_is_exported_aio(telemetry, redis):
    """The same holds under asyncio."""
    async with coatcheck.aio.by_url(redis, plugins=[telemetry.plugin]) as results:
        with telemetry.block("work"):
            await results.store_result("a", 1)
            await results.store_result("a", 2)
            await results.mark_as_failure("b", ValueError("no"))
            with pytest.raises(coatcheck.EncodeError):
                await results.store_result("c", object())
        with telemetry.block("request"):
            await results.wait_for("a", 10)
            await results.get_many(["a", "b", "x"])
            await results.forget("a")
            with pytest.raises(coatcheck.WaitTimeoutError):
                await results.wait_for("x", 0)

    check(telemetry, redis)


def test_signs_of_life_belong_to_the_task(telemetry, redis):
    """The records of a heartbeat, which a thread writes, carry the context of the block."""
    with coatcheck.by_url(redis, plugins=[telemetry.plugin]) as results:
        with telemetry.block("work") as work, results.running("t", heartbeat=0.05):
            while (meta := results.get_task_meta("t")).heartbeat["beat"] < 3:
                time.sleep(0.01)

    assert f"{work.get_span_context().span_id:016x}" == meta.traceparent.split("-")[2]


@pytest.mark.parametrize("planted", [b'"00-zz-1-1"', b'{"a": 1}', b'"\\u0000"', b"7"])
def test_a_record_cannot_break_a_reader(telemetry, redis, server, planted, caplog):
    """A malformed context leads to no link and no error."""
    record = b'{"status": "SUCCESS", "result": 1, "task_id": "t", "traceparent": %b}' % planted
    server.ask("SET", "celery-task-meta-t", record)
    with coatcheck.by_url(redis, plugins=[telemetry.plugin]) as results:
        assert 1 == results.wait_for("t", 10).result

    assert [] == linked(telemetry.one("wait redis"))
    assert "" == caplog.text


@pytest.mark.parametrize(
    ("url", "system", "server"),
    [
        ("rediss://:***@db.example/0", "redis", {"server.address": "db.example"}),
        ("mongodb://a:1,b:2/x", "mongodb", {}),
        ("sentinel://a:1;sentinel://b:2", "redis", {}),
        ("db+postgresql+psycopg://h:5/x", "postgresql", {"server.address": "h", "server.port": 5}),
        ("sqlite:////tmp/x.db", "sqlite", {}),
        ("memory://name", "memory", {}),
        ("etcd://[::1]:7", "etcd", {"server.address": "::1", "server.port": 7}),
        ("", "coatcheck", {}),
    ],
)
def test_the_store_by_its_url(url, system, server):
    """Spans name the kind of store as the conventions do, and its server where there is one."""
    assert (system, server) == (system_of(url), server_of(url))


PROGRAM = """
import coatcheck, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
results = coatcheck.by_url(sys.argv[1])
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
results.store_result("t", 1)
assert ["store redis"] == [span.name for span in exporter.get_finished_spans()]
"""


def test_once_installed_it_is_found(redis, monkeypatch):
    """The installed plugin works without a setting, with the global providers, whenever they are set."""
    monkeypatch.delenv("COATCHECK_PLUGINS")
    subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM, redis], check=True)
