"""OpenTelemetry traces: a span a call, and below it one for each stage; nothing at all without the `otel` extra.

The spans go where the standard variables say (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, ...); without an
endpoint nothing is recorded. The caller's trace is continued: `traceparent`, in a header or in metadata (W3C).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synpose_server.calls import Call
    from synpose_server.observe import Count, Measure, Stage

try:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError:  # the extra is not installed
    trace = None  # type: ignore[assignment]

__all__ = ["LISTENER", "call_span", "set_up", "trace_id"]

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_MOST_STAGES = 256  # spans below one call: a long clip has a hundred thousand stages

log = logging.getLogger(__name__)

_tracer: Any = None
_current: ContextVar[_Span | None] = ContextVar("synpose_span", default=None)


def set_up() -> None:
    """Export spans if the environment names an endpoint; tells in the log if it does and the extra is missing."""
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        log.warning("an OpenTelemetry endpoint is set, but no span is recorded: pip install 'synpose[otel]'")
        return
    name = os.environ.get("OTEL_SERVICE_NAME", "synpose")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    use(provider)


def use(provider: Any) -> None:
    """Record spans with `provider`, an OpenTelemetry `TracerProvider`; None ends that."""
    global _tracer
    _tracer = None if provider is None else provider.get_tracer("synpose")


@contextmanager
def call_span(door: str, headers: Mapping[str, str]) -> Iterator[_Span]:
    """The span of a call, below the one that its headers name."""
    if _tracer is None:
        yield _NO_SPAN
        return
    parent = TraceContextTextMapPropagator().extract(headers)
    span = _Span(_tracer.start_span(door, parent, trace.SpanKind.SERVER))
    token = _current.set(span)
    try:
        yield span
    finally:
        _current.reset(token)


def trace_id() -> str:
    """The id of the trace that the running call belongs to, or `-`."""
    span = _current.get()
    return "-" if span is None else format(span.span.get_span_context().trace_id, "032x")


class _Span:
    """The span of a call, and how many stages it holds."""

    def __init__(self, span: Any) -> None:
        self.span = span
        self._context = None if span is None else trace.set_span_in_context(span)
        self._stages = 0

    def end(self, call: Call) -> None:
        """Close it with how the call ended."""
        if self.span is None:
            return
        self.span.update_name(call.method)
        self.span.set_attributes({"synpose.request_id": call.id, "synpose.status": call.status})
        if call.key is not None:
            self.span.set_attribute("synpose.key", call.key)
        if self._stages > _MOST_STAGES:
            self.span.set_attribute("synpose.stages_left_out", self._stages - _MOST_STAGES)
        if call.reason is not None:
            self.span.set_status(trace.Status(trace.StatusCode.ERROR, call.reason))
        self.span.end()

    def stage(self, name: str, began: float, ended: float, camera: int | None) -> None:
        """A stage below the call; those of a long clip are recorded as far as the first few hundred."""
        self._stages += 1
        if self._stages > _MOST_STAGES:
            return
        offset = time.time() - time.perf_counter()
        attributes = None if camera is None else {"synpose.camera": camera}
        begin, end = (round((offset + at) * 1e9) for at in (began, ended))
        _tracer.start_span(name, self._context, attributes=attributes, start_time=begin).end(end)


_NO_SPAN = _Span(None)


class _Listener:
    def stage(self, name: Stage, began: float, ended: float, camera: int | None) -> None:
        span = _current.get()
        if span is not None and _tracer is not None:
            span.stage(name, began, ended, camera)

    def count(self, name: Count, n: int, camera: int | None) -> None: ...

    def measure(self, name: Measure, value: float) -> None: ...


LISTENER = _Listener()
