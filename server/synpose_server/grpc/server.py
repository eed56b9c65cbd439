"""The gRPC server: the pose service, health and reflection on one port."""

from __future__ import annotations

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from synpose.errors import ServerError
from synpose.v1 import pose_pb2 as pb
from synpose.v1 import pose_pb2_grpc as pb_grpc
from synpose.wire import MAX_MESSAGE_BYTES
from synpose_server.bridge import Bridge
from synpose_server.grpc.errors import ErrorInterceptor
from synpose_server.grpc.service import PoseService

__all__ = ["GrpcServer"]

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # else a second server on the same port would start and take half of the calls
    ("grpc.keepalive_time_ms", 30_000),  # a caller whose machine went away must not keep its upload here
    ("grpc.keepalive_timeout_ms", 10_000),
)


class GrpcServer:
    """Made, started and stopped on one event loop. Health is SERVING while it runs and the engine is ready."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._health = health.aio.HealthServicer()
        self._service = pb.DESCRIPTOR.services_by_name["PoseService"].full_name
        self._server = grpc.aio.server(interceptors=(ErrorInterceptor(),), options=_OPTIONS)
        pb_grpc.add_PoseServiceServicer_to_server(PoseService(bridge), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (self._service, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self) -> int:
        """Listen; returns the port, a free one where the settings say 0. Raises `ServerError` if it is taken."""
        settings = self._bridge.engine.settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        try:
            port = self._server.add_insecure_port(f"{host}:{settings.grpc_port}")
        except RuntimeError as error:
            where = f"{host}:{settings.grpc_port}"
            raise ServerError(f"cannot listen on {where}; choose another port with --grpc-port") from error
        status = health_pb2.HealthCheckResponse
        for name in ("", self._service):
            await self._health.set(name, status.SERVING if self._bridge.ready else status.NOT_SERVING)
        await self._server.start()
        return port

    async def stop(self, grace: float) -> None:
        """Refuse new calls, let running ones finish for `grace` seconds, then cancel them."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)
