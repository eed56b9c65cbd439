"""The gRPC door: `synpose.v1.PoseService` with health and reflection, on grpc.aio."""

from synpose_server.grpc.server import GrpcServer

__all__ = ["GrpcServer"]
