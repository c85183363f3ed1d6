"""
Providers of OpenTelemetry's SDK that keep everything in memory, and a Redis.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.redis import RedisServer

from coatcheck_otel import OpenTelemetry


@dataclass
class Telemetry:
    """The spans and metrics that an application exports."""

    tracers: TracerProvider
    meters: MeterProvider
    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader

    @property
    def plugin(self) -> OpenTelemetry:
        return OpenTelemetry(self.tracers, self.meters)

    def block(self, name: str) -> Any:
        """Begin a span of the application."""
        return self.tracers.get_tracer("application").start_as_current_span(name)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def one(self, name: str) -> ReadableSpan:
        (span,) = [span for span in self.spans if span.name == name]
        return span

    @property
    def metrics(self) -> Mapping[str, list[Any]]:
        """The data points of each metric."""
        data = self.reader.get_metrics_data()
        scopes = [scope for found in data.resource_metrics for scope in found.scope_metrics]
        return {m.name: list(m.data.data_points) for scope in scopes for m in scope.metrics}


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider(metric_readers=[reader])
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    yield Telemetry(tracers, meters, exporter, reader)
    meters.shutdown()
    tracers.shutdown()


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def redis(server):
    """The URL of an empty Redis."""
    server.ask("FLUSHALL")
    return server.url
