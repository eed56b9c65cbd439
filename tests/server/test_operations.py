"""What a server tells of itself: request ids, metrics, logs, traces and probes."""

from __future__ import annotations

import json
import logging
import threading

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.server.fake_engine import FakeEngine
from tests.server.live_server import serve
from tests.server.test_serve import PARTS

from synpose.errors import Overloaded
from synpose_server import metrics, observe, tracing
from synpose_server.lifecycle import Lifecycle
from synpose_server.logs import JsonFormatter
from synpose_server.settings import Settings


def test_a_request_keeps_its_id() -> None:
    """An id that a log can hold comes back, another is replaced; also with an error."""
    with serve(FakeEngine(Settings())) as url:
        for path in ("/v1/models", "/nothing"):
            assert httpx.get(url + path, headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
            assert httpx.get(url + path, headers={"x-request-id": "{bad}"}).headers["x-request-id"] != "{bad}"


def test_metrics_count_requests_and_stages() -> None:
    """A request and its stages are counted under few labels, whatever paths are asked for."""
    with serve(FakeEngine(Settings())) as url:
        assert httpx.post(f"{url}/v1/pose3d", files=PARTS).status_code == 200
        httpx.get(f"{url}/some/path/of/mine")
        text = httpx.get(f"{url}/metrics").text
    assert 'synpose_requests_total{door="http",method="/v1/pose3d",status="200"}' in text
    assert 'synpose_rejections_total{door="http",reason="' in text
    assert "of/mine" not in text
    assert 'synpose_stage_seconds_count{stage="format"} 0.0' not in text
    assert 'synpose_model_info{name="fake",version="7"} 1.0' in text
    assert "synpose_ready 1.0" in text


def test_cameras_beyond_the_limit_have_no_label() -> None:
    """A place that no rig can have makes no new series."""
    metrics.LISTENER.count("missing_views", 1, 99)
    metrics.LISTENER.count("missing_views", 1, 3)
    assert b'camera="99"' not in metrics.render()
    assert b'synpose_missing_views_total{camera="3"}' in metrics.render()


def test_a_trace_goes_on_from_the_caller() -> None:
    """The span of a call lies in the caller's trace, and its stages below it."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    try:
        with serve(FakeEngine(Settings())) as url:
            parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            httpx.post(f"{url}/v1/pose3d", files=PARTS, headers={"traceparent": parent})
    finally:
        tracing.use(None)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    call, stage = spans["/v1/pose3d"], spans["format"]
    assert call.parent is not None
    assert stage.parent is not None
    assert format(call.context.trace_id, "032x") == "0af7651916cd43dd8448eb211c80319c"
    assert stage.parent.span_id == call.context.span_id


def test_a_log_line_is_json() -> None:
    """A record with extras and a traceback is one line that a machine can read."""
    try:
        raise ValueError("why")
    except ValueError as error:
        record = logging.makeLogRecord({"msg": "line\n%s", "args": ("two",), "door": "http"})
        record.exc_info = (ValueError, error, error.__traceback__)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    read = json.loads(line)
    assert (read["message"], read["door"]) == ("line\ntwo", "http")
    assert "ValueError: why" in read["exception"]


def test_liveness_fails_when_a_thread_is_stuck() -> None:
    """Only a stage that goes on too long fails it; readiness and startup are asked apart."""
    lifecycle = Lifecycle(lambda: None, stall_seconds=0.01)
    lifecycle.check_liveness()
    go, begun = threading.Event(), threading.Event()

    def work() -> None:
        with observe.stage("spatial"):
            begun.set()
            go.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait(10)
    try:
        while not (longest := observe.longest()) or longest[1] < 0.02:
            pass
        with pytest.raises(Overloaded, match="stuck: spatial"):
            lifecycle.check_liveness()
        lifecycle.check_readiness()
    finally:
        go.set()
        thread.join()
    lifecycle.check_liveness()
