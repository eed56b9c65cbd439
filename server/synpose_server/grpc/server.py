"""The gRPC server: the pose service, the raw graphs, health and reflection on one port."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from synpose.errors import Overloaded, ServerError
from synpose.open_inference import inference_pb2, inference_pb2_grpc
from synpose.v1 import pose_pb2, pose_pb2_grpc
from synpose.wire import MAX_MESSAGE_BYTES
from synpose_server.auth import Gate
from synpose_server.bridge import Bridge
from synpose_server.grpc.door import DoorInterceptor
from synpose_server.grpc.errors import ErrorInterceptor
from synpose_server.grpc.inference import InferenceService
from synpose_server.grpc.service import PoseService
from synpose_server.settings import Settings

__all__ = ["GrpcServer"]

_HEALTH_SECONDS = 1.0
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # else a second server on the same port would start and take half of the calls
    ("grpc.keepalive_time_ms", 30_000),  # a caller whose machine went away must not keep its upload here
    ("grpc.keepalive_timeout_ms", 10_000),
)


class GrpcServer:
    """Made, started and stopped on one event loop. Health follows the probes of HTTP (`tell_health`)."""

    def __init__(self, bridge: Bridge, gate: Gate | None = None) -> None:
        self._bridge = bridge
        self._watch: asyncio.Task[None] | None = None
        self._health = health.aio.HealthServicer()
        self._services = (
            pose_pb2.DESCRIPTOR.services_by_name["PoseService"].full_name,
            inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name,
        )
        gate = gate or Gate(bridge.engine.settings.keys)
        interceptors = (DoorInterceptor(gate, bridge.lifecycle), ErrorInterceptor())
        self._server = grpc.aio.server(interceptors=interceptors, options=_OPTIONS)
        pose_pb2_grpc.add_PoseServiceServicer_to_server(PoseService(bridge), self._server)
        inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(InferenceService(bridge), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, address: str | None = None) -> int:
        """Listen, at `address` in the place of that of the settings; returns the port, a free one where they say 0.

        Raises `ServerError` if it is taken.
        """
        settings = self._bridge.engine.settings
        if address is None:
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            address = f"{host}:{settings.grpc_port}"
        try:
            if (credentials := _credentials(settings)) is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise ServerError(f"cannot listen on {address}; choose another port with --grpc-port") from error
        await self.tell_health()
        await self._server.start()
        self._watch = asyncio.create_task(self._watch_health())
        return port

    async def tell_health(self) -> None:
        """Bring the health service in step with the probes of HTTP.

        It answers readiness for the whole server and each service, and the other two as `startup` and `liveness`.
        """
        checks = {
            **dict.fromkeys(("", *self._services), self._bridge.lifecycle.check_readiness),
            "startup": self._bridge.lifecycle.check_startup,
            "liveness": self._bridge.lifecycle.check_liveness,
        }
        status = health_pb2.HealthCheckResponse
        for name, check in checks.items():
            try:
                check()
            except Overloaded:
                await self._health.set(name, status.NOT_SERVING)
            else:
                await self._health.set(name, status.SERVING)

    async def stop(self, grace: float) -> None:
        """Refuse new calls, let running ones finish for `grace` seconds, then cancel them."""
        if self._watch is not None:
            self._watch.cancel()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)

    async def _watch_health(self) -> None:
        while True:
            await asyncio.sleep(_HEALTH_SECONDS)
            await self.tell_health()


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    authority = settings.tls_client_ca.read_bytes() if settings.tls_client_ca else None
    pair = settings.tls_key.read_bytes(), settings.tls_cert.read_bytes()
    return grpc.ssl_server_credentials([pair], authority, authority is not None)
