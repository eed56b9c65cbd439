"""One replica: an engine with both doors, reached through the proxies of Ray Serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import grpc
import grpc.aio
from fastapi import FastAPI
from grpc_health.v1 import health_pb2, health_pb2_grpc
from ray import serve
from ray.serve.grpc_util import RayServegRPCContext

from synpose.open_inference import inference_pb2, inference_pb2_grpc
from synpose.v1 import pose_pb2 as pb
from synpose.v1 import pose_pb2_grpc as pb_grpc
from synpose.wire import ACCEPTED_HEADER
from synpose_server import logs, tracing
from synpose_server.auth import Gate
from synpose_server.bridge import Bridge
from synpose_server.cluster.calibrations import SharedCalibrations
from synpose_server.engine import Engine
from synpose_server.grpc import GrpcServer
from synpose_server.http import create_app
from synpose_server.settings import Settings
from synpose_server.upkeep import upkeep

__all__ = ["Replica"]

T = TypeVar("T")

_UNBOUNDED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
_OF_THE_CONNECTION = ("user-agent", "content-type", "te")


def _unary(stub: str, method: str, answer: Callable[[], T]) -> Callable[..., Awaitable[T]]:
    """A method that passes one message on to `method` of the replica's `stub`, and the answer back."""

    async def passed_on(self: Replica, request: Any, grpc_context: RayServegRPCContext) -> T:
        call = getattr(getattr(self, stub), method)(request, metadata=_metadata(grpc_context))
        return await _answer(call, grpc_context, answer())

    passed_on.__name__ = method
    return passed_on


@serve.ingress(None)
class Replica:
    """HTTP is answered by the application of `create_app`, as Serve's proxy hands it on.

    Serve's gRPC proxy gives a method only messages and metadata. So gRPC is answered by the server of the single
    process, on a socket of this replica, and what it says is passed on: keys, errors and counts are the same. An empty
    message stands for what the proxy would keep back otherwise: the header that a clip's start was accepted, and the
    trailers of an error, which it sends with a message only.
    """

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc] # Serve awaits it
        logs.set_up(settings.log_format, settings.log_level)
        tracing.set_up()
        self._folder = TemporaryDirectory(prefix="synpose-")  # others may not enter it
        self._bridge = Bridge(await asyncio.to_thread(Engine, settings))
        live = self._bridge.live
        live.name = serve.get_replica_context().replica_id.unique_id
        live.calibrations = await asyncio.to_thread(SharedCalibrations, settings.max_calibrations)
        self._gate = Gate(settings.keys)
        self._rpc = GrpcServer(self._bridge, self._gate)
        address = f"unix:{Path(self._folder.name) / 'grpc'}"
        await self._rpc.start(address)
        self._channel = grpc.aio.insecure_channel(address, _UNBOUNDED)
        self._pose: pb_grpc.PoseServiceAsyncStub = pb_grpc.PoseServiceStub(self._channel)
        self._inference: inference_pb2_grpc.GRPCInferenceServiceAsyncStub = inference_pb2_grpc.GRPCInferenceServiceStub(
            self._channel
        )
        self._health = health_pb2_grpc.HealthStub(self._channel)
        self._beside = asyncio.create_task(upkeep(self._bridge.engine))

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(self._bridge, self._gate)

    def check_health(self) -> None:
        """Asked by Serve, which starts another replica in the place of one that raises."""
        self._bridge.lifecycle.check_liveness()

    async def __del__(self) -> None:
        """Called by Serve once the calls have ended, or have run for too long."""
        self._beside.cancel()
        await self._channel.close()
        await self._rpc.stop(0)
        await asyncio.to_thread(self._bridge.close)
        self._folder.cleanup()

    EstimatePose3D = _unary("_pose", "EstimatePose3D", pb.EstimatePose3DResponse)
    ListModels = _unary("_pose", "ListModels", pb.ListModelsResponse)
    ListSkeletons = _unary("_pose", "ListSkeletons", pb.ListSkeletonsResponse)
    ServerLive = _unary("_inference", "ServerLive", inference_pb2.ServerLiveResponse)
    ServerReady = _unary("_inference", "ServerReady", inference_pb2.ServerReadyResponse)
    ServerMetadata = _unary("_inference", "ServerMetadata", inference_pb2.ServerMetadataResponse)
    ModelReady = _unary("_inference", "ModelReady", inference_pb2.ModelReadyResponse)
    ModelMetadata = _unary("_inference", "ModelMetadata", inference_pb2.ModelMetadataResponse)
    ModelInfer = _unary("_inference", "ModelInfer", inference_pb2.ModelInferResponse)

    async def EstimateClip(  # noqa: N802 - the names in the proto
        self, requests: AsyncIterator[pb.EstimateClipRequest], grpc_context: RayServegRPCContext
    ) -> AsyncGenerator[pb.EstimateClipResponse, None]:
        call = self._pose.EstimateClip(requests, metadata=_metadata(grpc_context))
        async for response in _answers(call, grpc_context, pb.EstimateClipResponse()):
            yield response

    async def StreamPoses(  # noqa: N802
        self, requests: AsyncIterator[pb.StreamPosesRequest], grpc_context: RayServegRPCContext
    ) -> AsyncGenerator[pb.StreamPosesResponse, None]:
        call = self._pose.StreamPoses(requests, metadata=_metadata(grpc_context))
        async for response in _answers(call, grpc_context, pb.StreamPosesResponse()):
            yield response

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, grpc_context: RayServegRPCContext
    ) -> health_pb2.HealthCheckResponse:
        return await _answer(self._health.Check(request), grpc_context, health_pb2.HealthCheckResponse())

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, grpc_context: RayServegRPCContext
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse, None]:
        async for response in _answers(self._health.Watch(request), grpc_context, health_pb2.HealthCheckResponse()):
            yield response


async def _answer(call: Any, context: RayServegRPCContext, empty: T) -> T:
    try:
        response: T = await call
    except grpc.aio.AioRpcError as error:
        _end(context, error)
        return empty
    else:
        return response
    finally:
        call.cancel()


async def _answers(call: Any, context: RayServegRPCContext, empty: T) -> AsyncGenerator[T, None]:
    try:
        if ACCEPTED_HEADER in dict(await call.initial_metadata()):
            yield empty
        async for response in call:
            yield response
    except grpc.aio.AioRpcError as error:
        _end(context, error)
        yield empty
    finally:
        call.cancel()


def _end(context: RayServegRPCContext, error: grpc.aio.AioRpcError) -> None:
    """The call ends as that of the replica did."""
    context.set_code(error.code())
    context.set_details(error.details() or "")
    context.set_trailing_metadata(list(error.trailing_metadata() or ()))


def _metadata(context: RayServegRPCContext) -> list[tuple[str, str | bytes]]:
    """What the client sent, without what gRPC says of the connection to the proxy."""
    return [(key, value) for key, value in context.invocation_metadata() if key not in _OF_THE_CONNECTION]
