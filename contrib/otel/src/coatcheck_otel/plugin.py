"""
The plugin: a span and a measurement of each operation, made when it is over.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from coatcheck import ResultMeta, hookimpl

from . import conventions as names

#: The key of the record, and of the W3C's header.
_TRACEPARENT: Final = "traceparent"
_W3C: Final = TraceContextTextMapPropagator()
#: A read of more records links to the writers of the first ones; the SDK keeps as many by default.
_LINKS: Final = 128

Attributes = dict[str, AttributeValue]


class OpenTelemetry:
    """
    Gives spans and metrics to the providers; without one, to the global ones.

    Args:
        tracer_provider: where spans go.
        meter_provider: where metrics go.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(
            "coatcheck", tracer_provider=tracer_provider, schema_url=names.SCHEMA_URL
        )
        meter = metrics.get_meter(
            "coatcheck", meter_provider=meter_provider, schema_url=names.SCHEMA_URL
        )
        self._durations = meter.create_histogram(
            names.DB_DURATION,
            unit="s",
            description="Duration of stores, reads and deletions.",
            explicit_bucket_boundaries_advisory=names.BUCKETS,
        )
        self._waits = meter.create_histogram(
            names.MESSAGING_DURATION,
            unit="s",
            description="Time from the start of a wait to its record.",
            explicit_bucket_boundaries_advisory=names.WAIT_BUCKETS,
        )
        self._records = meter.create_counter(
            names.RECORDS, unit="{record}", description="Records sent to the store."
        )

    # -- the hooks ------------------------------------------------------------------------

    @hookimpl
    def traceparent(self) -> str | None:
        """Return the current context, for the record that is about to be stored."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get(_TRACEPARENT)

    @hookimpl
    def stored(self, meta: ResultMeta, won: bool, seconds: float, store: str) -> None:  # noqa: FBT001
        """Make a span, and count the record by its state and the type of its failure."""
        failure = meta.failure
        outcome: Attributes = {names.STATE: meta.status, names.WON: won}
        self._end("store", store, seconds, {names.TASK_ID: meta.task_id, **outcome})
        kind = {} if failure is None else {names.ERROR_TYPE: failure.type_name}
        self._records.add(1, {names.DB_SYSTEM: names.system_of(store), **outcome, **kind})

    @hookimpl
    def read(self, metas: Mapping[str, ResultMeta], asked: int, seconds: float, store: str) -> None:
        """Make a span that links to the writers of the records."""
        more: Attributes = {names.DB_RETURNED: len(metas)}
        if asked > 1:
            more[names.DB_BATCH] = asked
        self._end("read", store, seconds, more, linked=metas.values())

    @hookimpl
    def forgotten(self, task_ids: list[str], seconds: float, store: str) -> None:
        """Make a span."""
        more: Attributes = {names.TASK_ID: task_ids[0]} if len(task_ids) == 1 else {}
        self._end("forget", store, seconds, more)

    @hookimpl
    def waited(self, meta: ResultMeta, seconds: float, store: str) -> None:
        """Make a span that links to the writer of the record."""
        more: Attributes = {names.MESSAGE_ID: meta.task_id, names.STATE: meta.status}
        self._end("wait", store, seconds, more, linked=[meta])

    @hookimpl
    def failed(self, operation: str, error: Exception, seconds: float, store: str) -> None:
        """Make a span that shows the error."""
        self._end(operation, store, seconds, {}, error=error)

    # -- spans and durations ----------------------------------------------------------------

    def _end(
        self,
        operation: str,
        store: str,
        seconds: float,
        more: Attributes,
        *,
        linked: Iterable[ResultMeta] = (),
        error: Exception | None = None,
    ) -> None:
        """Record an operation that took *seconds* until now. *more* is for the span alone."""
        common = _attributes(operation, store)
        if error is not None:
            common[names.ERROR_TYPE] = type(error).__qualname__
        durations = self._waits if operation == "wait" else self._durations
        durations.record(seconds, common)
        now = time.time_ns()
        span = self._tracer.start_span(
            f"{operation} {names.system_of(store)}",
            kind=SpanKind.CLIENT,
            attributes={**common, **more},
            start_time=now - int(seconds * 1e9),
        )
        if span.is_recording():
            for meta in islice(linked, _LINKS):
                writer = _writer_of(meta)
                if writer.is_valid:
                    span.add_link(writer)
            if error is not None:
                span.set_status(StatusCode.ERROR, str(error))
        span.end(now)


def _attributes(operation: str, store: str) -> Attributes:
    server = names.server_of(store)
    if operation == "wait":
        return {
            names.MESSAGING_SYSTEM: "coatcheck",
            names.MESSAGING_OPERATION: operation,
            names.MESSAGING_TYPE: "receive",
            **server,
        }
    return {names.DB_SYSTEM: names.system_of(store), names.DB_OPERATION: operation, **server}


def _writer_of(meta: ResultMeta) -> trace.SpanContext:
    """Return the context that the record carries; an invalid one if it carries none."""
    carrier = {_TRACEPARENT: meta.traceparent or ""}
    return trace.get_current_span(_W3C.extract(carrier, Context())).get_span_context()


#: The entry point names this object.
plugin: Final = OpenTelemetry()
