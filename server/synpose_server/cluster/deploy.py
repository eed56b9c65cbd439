"""`synpose serve --ray`, and the application of `serve run synpose_server.cluster.deploy:application`."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions, ProxyLocation, RequestRouterConfig, gRPCOptions

from synpose.errors import OptionsError, ServerError
from synpose_server.cluster.calibrations import STORE
from synpose_server.cluster.replica import Replica
from synpose_server.settings import Settings

__all__ = ["application", "run"]

_SERVICERS = [
    "synpose.v1.pose_pb2_grpc.add_PoseServiceServicer_to_server",
    "synpose.open_inference.inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server",
    "grpc_health.v1.health_pb2_grpc.add_HealthServicer_to_server",
]
_WAITING = 32  # calls that a replica lets wait, and those that are over in no time
_OBJECT_STORE_BYTES = 256 * 1024 * 1024  # nothing large is kept in it
_ALONE = ("admin", "tls_cert", "tls_key", "tls_client_ca")


def application(args: Mapping[str, Any]) -> serve.Application:
    """The deployment under the settings in the environment, and those in `args`, which go before them.

    Raises `OptionsError` for settings that mean nothing here.
    """
    return _application(Settings.model_validate(args))


def run(settings: Settings, say: Callable[[str], object]) -> None:
    """Serve on the cluster of `RAY_ADDRESS`, or one of this machine alone, until SIGTERM or SIGINT.

    `say` is told each address once the replicas are ready. Raises `ServerError` if they do not get ready.
    """
    app = _application(settings)
    if settings.host not in ("0.0.0.0", "::"):
        raise OptionsError(
            "Ray Serve listens for gRPC on all addresses: say --host 0.0.0.0, and use keys or a firewall", field="host"
        )
    http_port, grpc_port = (_free(settings.host, port) for port in (settings.http_port, settings.grpc_port))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    alone = "RAY_ADDRESS" not in os.environ
    local = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES} if alone else {}
    try:
        ray.init(namespace="serve", log_to_driver=False, **local)
    except Exception as error:  # of kinds of its own, and of none
        raise ServerError(f"Ray did not start: {error}") from error
    stop = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):  # after Ray has set handlers of its own
        signal.signal(signum, lambda *_: stop.set())
    try:
        serve.start(
            proxy_location=ProxyLocation.EveryNode,
            http_options=HTTPOptions(host=settings.host, port=http_port),
            grpc_options=gRPCOptions(port=grpc_port, grpc_servicer_functions=_SERVICERS),
        )
        serve.run(app, name="synpose")
        say(f"HTTP on http://{settings.host}:{http_port}")
        say(f"gRPC on {settings.host}:{grpc_port}")
        stop.wait()
    except RuntimeError as error:
        raise ServerError(f"the replicas did not get ready: {error}") from error
    finally:
        serve.shutdown()
        ray.kill(ray.get_actor(STORE))
        ray.shutdown()


def _application(settings: Settings) -> serve.Application:
    for name in _ALONE:
        if getattr(settings, name):
            raise OptionsError(f"{name} cannot be used with several replicas; see docs/scaling.md", field=name)
    deployment = serve.deployment(
        name="Synpose",
        autoscaling_config=AutoscalingConfig(
            min_replicas=settings.replicas,
            max_replicas=max(settings.replicas, settings.max_replicas),
            target_ongoing_requests=settings.max_clips,
        ),
        max_ongoing_requests=settings.max_clips + settings.max_streams + _WAITING,
        max_queued_requests=_WAITING,
        ray_actor_options={
            "num_cpus": settings.graph_threads,
            "num_gpus": 1 if settings.provider in ("cuda", "tensorrt") else 0,
        },
        request_router_config=RequestRouterConfig(request_router_class="synpose_server.cluster.router:StickyRouter"),
        graceful_shutdown_timeout_s=settings.drain_seconds,
        health_check_period_s=2,
    )(Replica)
    return deployment.bind(settings)


def _free(host: str, port: int) -> int:
    """`port`, or a free one where it is 0; raises `ServerError` if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        raise ServerError(f"cannot listen on port {port}: {error.strerror}") from None
