"""The methods of `synpose.v1.PoseService`: messages in, the engine's answer out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from typing import Any

import grpc.aio

from synpose import live_wire
from synpose.errors import SynposeError
from synpose.pose import Frame, PoseHeader
from synpose.skeleton import SKELETONS
from synpose.v1 import pose_pb2 as pb
from synpose.v1 import pose_pb2_grpc as pb_grpc
from synpose.wire import ACCEPTED_HEADER, frame_to_message, header_to_message, skeleton_to_message
from synpose_server.bridge import Bridge
from synpose_server.grpc.errors import let_finish
from synpose_server.grpc.upload import ClipUpload, check_length, check_size, images_of, start_of, timestamp_of
from synpose_server.job import Job
from synpose_server.live import converse
from synpose_server.requests import gather_images, match_sources, match_timestamps

__all__ = ["PoseService"]

_TELL_SECONDS = 1.0

Context = grpc.aio.ServicerContext[Any, Any]


class PoseService(pb_grpc.PoseServiceServicer):
    """Exceptions of `synpose.errors` leave the methods as they are; `ErrorInterceptor` answers them."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._settings = bridge.engine.settings

    async def EstimatePose3D(  # noqa: N802 - the name in the proto
        self, request: pb.EstimatePose3DRequest, context: Context
    ) -> pb.EstimatePose3DResponse:
        job, sets = Job(context.time_remaining()), request.frame_sets
        check_size(request.ByteSize(), self._settings)
        check_length(len(sets), self._settings)
        with self._bridge.receiving(job, estimates=True):
            rig, options = await start_of(request.calibration, request.options)
        sources = match_sources(rig, gather_images(rig, [images_of(s) for s in sets], self._settings), self._settings)
        timestamps = match_timestamps([timestamp_of(frame_set) for frame_set in sets], len(sets))
        return await self._bridge.answer(rig, sources, options, timestamps, job, _answer)

    async def EstimateClip(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.EstimateClipRequest], context: Context
    ) -> AsyncGenerator[pb.EstimateClipResponse, None]:
        job = Job(context.time_remaining())
        with ClipUpload(self._settings) as upload:
            try:
                with self._bridge.receiving(job, estimates=True):
                    async for request in self._bridge.in_time(request_iterator, job):
                        await upload.take(request)
                        if request.HasField("start"):
                            await context.send_initial_metadata(((ACCEPTED_HEADER, "accepted"),))
                    rig, sources, timestamps = upload.rig, upload.sources(), upload.timestamps()
            except SynposeError:
                await let_finish(request_iterator)
                raise
            async with self._bridge.estimate(rig, sources, upload.options, timestamps, job) as running:
                yield pb.EstimateClipResponse(header=header_to_message(running.header))
                async for frame in running:
                    yield pb.EstimateClipResponse(frame=frame_to_message(frame))

    async def StreamPoses(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.StreamPosesRequest], context: Context
    ) -> AsyncGenerator[pb.StreamPosesResponse, None]:
        messages = (live_wire.from_client(request) async for request in request_iterator)
        try:
            async with aclosing(converse(self._bridge.live, messages)) as answers:
                async for answer in answers:
                    yield live_wire.to_client(answer)
        except SynposeError as error:
            with suppress(TimeoutError, grpc.aio.InternalError):  # nobody reads, or nobody is there any more
                await asyncio.wait_for(context.write(live_wire.problem_to_message(error)), _TELL_SECONDS)
            raise

    async def ListModels(  # noqa: N802
        self, request: pb.ListModelsRequest, context: Context
    ) -> pb.ListModelsResponse:
        models = (
            pb.Model(
                name=model.name,
                version=model.version,
                description=model.description,
                skeletons=model.skeletons,
                is_default=model.is_default,
            )
            for model in self._bridge.engine.models
        )
        return pb.ListModelsResponse(models=models)

    async def ListSkeletons(  # noqa: N802
        self, request: pb.ListSkeletonsRequest, context: Context
    ) -> pb.ListSkeletonsResponse:
        return pb.ListSkeletonsResponse(skeletons=map(skeleton_to_message, SKELETONS.values()))


def _answer(header: PoseHeader, frames: Sequence[Frame]) -> pb.EstimatePose3DResponse:
    return pb.EstimatePose3DResponse(header=header_to_message(header), frames=map(frame_to_message, frames))
