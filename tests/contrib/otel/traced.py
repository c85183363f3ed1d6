"""
A program: an application of Celery, a worker in a thread, and a request; it prints their spans as JSON.
"""

from __future__ import annotations

import json
import sys

from celery import Celery
from celery.contrib.testing.worker import start_worker
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
CeleryInstrumentor().instrument()
app = Celery("traced", broker="memory://", backend=f"coatcheck+{sys.argv[1]}")


@app.task(name="double")
def double(number: int) -> int:
    return 2 * number


with (
    start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=30),
    trace.get_tracer("application").start_as_current_span("request"),
):
    assert 14 == double.delay(7).get(timeout=30)
app.backend.results.close()
spans = {
    span.name: {
        "trace": span.context.trace_id,
        "id": span.context.span_id,
        "parent": span.parent and span.parent.span_id,
        "links": [link.context.span_id for link in span.links],
    }
    for span in exporter.get_finished_spans()
}
print(json.dumps(spans))
