"""The server's Prometheus metrics. Labels have few values: routes, stages, problem types and the places of cameras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias, get_args

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from synpose_server import observe
from synpose_server.observe import Count, Measure, Stage
from synpose_server.stats import Outcome

__all__ = [
    "CONTENT_TYPE",
    "StreamEvent",
    "count_stream",
    "in_flight",
    "observe_call",
    "render",
    "set_models",
    "set_ready",
    "set_streams",
]

StreamEvent: TypeAlias = Literal["opened", "resumed", "ended", "failed", "expired", "refused"]

CONTENT_TYPE = CONTENT_TYPE_LATEST

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SIZES = (1, 2, 4, 8, 16, 32, 64)
_CAMERAS = 16  # a server takes no more; a place beyond it would be a mistake, and is not told

_registry = CollectorRegistry()
ProcessCollector(registry=_registry)
PlatformCollector(registry=_registry)

_requests = Counter("synpose_requests", "Requests by how they ended", ("door", "method", "status"), registry=_registry)
_seconds = Histogram(
    "synpose_request_seconds", "From a request's head to the end of its answer", ("door", "method"),
    buckets=_SLOW, registry=_registry,
)  # fmt: skip
_in_flight = Gauge("synpose_requests_in_flight", "Requests under way", ("door",), registry=_registry)
_rejections = Counter(
    "synpose_rejections", "Requests that ended with a problem, by its type", ("door", "reason"), registry=_registry
)
_stages = Histogram(
    "synpose_stage_seconds", "Seconds of a stage: " + "; ".join(f"{k}, {v}" for k, v in observe.STAGES.items()),
    ("stage",), buckets=_FAST, registry=_registry,
)  # fmt: skip
_decode = Counter("synpose_decode_seconds", "Seconds spent on a camera's images", ("camera",), registry=_registry)
_images = Counter("synpose_images", "Images that were decoded", ("camera",), registry=_registry)
_counts = {
    name: Counter(f"synpose_{name}", text, ("camera",) if name == "missing_views" else (), registry=_registry)
    for name, text in observe.COUNTS.items()
}
_measures = {
    "skew": Histogram("synpose_skew_seconds", "Time between the first and the last image of a frame set",
                      buckets=_FAST, registry=_registry),
}  # fmt: skip
_calls = Counter(
    "synpose_calls", "Calls of graphs, and estimates at admission, by how they ended", ("where", "outcome"),
    registry=_registry,
)  # fmt: skip
_batch = Histogram("synpose_batch_items", "Items in a run of a graph", ("graph",), buckets=_SIZES, registry=_registry)
_run = Histogram("synpose_run_seconds", "Seconds of a run of a graph", ("graph",), buckets=_FAST, registry=_registry)
_wait = Histogram(
    "synpose_wait_seconds", "Seconds a call waited for its run", ("graph",), buckets=_FAST, registry=_registry
)
_stream_events = Counter(
    "synpose_streams",
    "Live streams: opened; resumed; over, as they were answered to their end (ended), went wrong (failed) or were not"
    " resumed (expired); and refused, as all places were taken",
    ("event",), registry=_registry,
)  # fmt: skip
_streams = Gauge(
    "synpose_streams_open", "Live streams that are connected, and that wait for being resumed", ("state",),
    registry=_registry,
)  # fmt: skip
_ready = Gauge("synpose_ready", "Whether readiness holds", registry=_registry)
_models = Gauge("synpose_model_info", "Models that are served; always 1", ("name", "version"), registry=_registry)

# labels of every stage and reason are made once: looking them up costs more than the observation
_stage_seconds = {name: _stages.labels(name) for name in observe.STAGES}
for door in ("http", "grpc", "websocket"):
    _in_flight.labels(door)
for event in get_args(StreamEvent):
    _stream_events.labels(event)


class _Listener:
    def stage(self, name: Stage, began: float, ended: float, camera: int | None) -> None:
        _stage_seconds[name].observe(ended - began)
        if name == "decode" and camera is not None and camera < _CAMERAS:
            _decode.labels(str(camera)).inc(ended - began)
            _images.labels(str(camera)).inc()

    def count(self, name: Count, n: int, camera: int | None) -> None:
        counter = _counts[name]
        if name == "missing_views":
            if camera is None or camera >= _CAMERAS:
                return
            counter = counter.labels(str(camera))
        counter.inc(n)

    def measure(self, name: Measure, value: float) -> None:
        _measures[name].observe(value)


LISTENER = _Listener()


class _Scheduler:
    def counted(self, where: str, outcome: Outcome) -> None:
        _calls.labels(where, outcome).inc()
        if where == "admission" and outcome == "expired":
            _counts["expired_requests"].inc()

    def batch(self, graph: str, size: int, waited: Sequence[float], seconds: float) -> None:
        kind = graph.rpartition(".")[2]
        _batch.labels(kind).observe(size)
        _run.labels(kind).observe(seconds)
        for wait in waited:
            _wait.labels(kind).observe(wait)


SCHEDULER = _Scheduler()


@contextmanager
def in_flight(door: str) -> Iterator[None]:
    """Counts a request of `door` as under way."""
    gauge = _in_flight.labels(door)
    gauge.inc()
    try:
        yield
    finally:
        gauge.dec()


def observe_call(door: str, method: str, status: str, reason: str | None, seconds: float) -> None:
    """A request is over."""
    _requests.labels(door, method, status).inc()
    _seconds.labels(door, method).observe(seconds)
    if reason is not None:
        _rejections.labels(door, reason).inc()


def count_stream(event: StreamEvent) -> None:
    """Something happened to a live stream."""
    _stream_events.labels(event).inc()


def set_streams(connected: int, waiting: int) -> None:
    """How many live streams there are with a connection, and without."""
    _streams.labels("connected").set(connected)
    _streams.labels("waiting").set(waiting)


def set_ready(ready: bool) -> None:
    """What readiness says."""
    _ready.set(ready)


def set_models(models: dict[str, str]) -> None:
    """The versions of the models that are served, by name."""
    _models.clear()
    for name, version in models.items():
        _models.labels(name, version).set(1)


def render() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(_registry)
