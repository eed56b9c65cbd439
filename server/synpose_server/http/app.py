"""Routes of the HTTP door: each parses, calls the engine and formats."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from synpose.errors import InvalidInput, SynposeError
from synpose.formats import ndjson
from synpose.pose import Frame
from synpose.skeleton import SKELETONS
from synpose_server import metrics, observe, tracing
from synpose_server.auth import Gate
from synpose_server.bridge import Bridge, Running
from synpose_server.calls import REQUEST_ID
from synpose_server.http import calibration_documents, deadline, documents, inference
from synpose_server.http.admin import admin_routes
from synpose_server.http.body import read_answer, read_body
from synpose_server.http.calibration_body import read_calibration_body
from synpose_server.http.calibration_lines import LINES, calibration_lines
from synpose_server.http.calibrations import add_calibrations
from synpose_server.http.connected import while_connected
from synpose_server.http.deadline import job_of
from synpose_server.http.door import Door
from synpose_server.http.inference import inference_routes
from synpose_server.http.output import PARAMETERS, read_output
from synpose_server.http.page import add_page
from synpose_server.http.problems import answer_errors, problem_of
from synpose_server.http.query import check_query
from synpose_server.http.stream import add_stream

__all__ = ["create_app"]

log = logging.getLogger(__name__)


def create_app(bridge: Bridge, gate: Gate | None = None) -> FastAPI:
    """The HTTP door of the engine behind `bridge`, which it shares with other doors and does not close.

    `gate` is shared, too, so that a key's limits hold over all doors.
    """
    settings, engine, lifecycle = bridge.engine.settings, bridge.engine, bridge.lifecycle
    # FastAPI's pages under /docs load their scripts from elsewhere, which a server without internet cannot offer.
    app = FastAPI(
        title="Synpose",
        version="1",
        description=documents.DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        docs_url=None,
        redoc_url=None,
    )
    answer_errors(app)
    gate = gate or Gate(settings.keys)
    app.add_middleware(Door, gate=gate, lifecycle=lifecycle, origins=settings.origins)
    if settings.origins:  # the outermost, so that pages may read refusals, too
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "x-api-key", REQUEST_ID, deadline.HEADER, inference.HEADER],
            expose_headers=[REQUEST_ID, "retry-after", inference.HEADER],
        )
    observe.subscribe(metrics.LISTENER)
    if metrics.SCHEDULER not in engine.stats.observers:
        engine.stats.observers.append(metrics.SCHEDULER)
    observe.subscribe(tracing.LISTENER)

    # routes are tried in their order, which takes its time: the one that counts comes first
    @app.post(
        "/v1/pose3d",
        operation_id="estimate_pose_3d",
        summary="Estimate 3D joints",
        description=documents.POSE3D,
        openapi_extra={
            "requestBody": documents.REQUEST_BODY,
            "parameters": [*PARAMETERS, *documents.DEADLINE_PARAMETERS],
        },
        responses=documents.POSE3D_RESPONSES,
        response_class=Response,
    )
    async def pose3d(request: Request) -> Response:
        output = read_output(request)
        job = job_of(request.headers)
        async with AsyncExitStack() as stack:
            with bridge.receiving(job, estimates=True):
                body = bridge.in_time(request.stream(), job)
                pose = await stack.enter_async_context(read_body(request.headers, body, settings))
            if not output.streams:
                given = pose.rig, pose.sources, pose.options, pose.timestamps
                content = await while_connected(request, bridge.answer(*given, job, output.write))
                return Response(content, media_type=output.form.media_type)
            estimate = bridge.estimate(pose.rig, pose.sources, pose.options, pose.timestamps, job)

            async def begin() -> tuple[Running, Frame | None]:
                running = await stack.enter_async_context(estimate)
                return running, await anext(running, None)  # what is wrong from the start gets its status

            running, first = await while_connected(request, begin())
            return _Stream(_lines(running, first), output.form.media_type, stack.pop_all())
        raise AssertionError("the stack swallows no exception")

    @app.post(
        "/v1/convert",
        operation_id="convert_pose_3d",
        summary="Write an answer in another format",
        description=documents.CONVERT,
        openapi_extra={
            "requestBody": documents.CONVERT_BODY,
            "parameters": [*PARAMETERS, *documents.DEADLINE_PARAMETERS],
        },
        responses=documents.CONVERT_RESPONSES,
        response_class=Response,
    )
    async def convert(request: Request) -> Response:
        output = read_output(request)
        job = job_of(request.headers)
        with ExitStack() as held:
            held.enter_context(bridge.receiving(job))
            decode = await read_answer(request.headers, bridge.in_time(request.stream(), job), settings)

            def written() -> bytes:
                sequence = decode()
                job.check()
                try:
                    return output.write(sequence.header, sequence.frames)
                except (ValueError, ArithmeticError, LookupError, RuntimeError) as error:  # numbers of no estimate
                    raise InvalidInput(f"this answer cannot be written as {output.form.suffix}: {error}") from error

            content = await while_connected(request, bridge.convert(written, job, held))
            return Response(content, media_type=output.form.media_type)
        raise AssertionError("the stack swallows no exception")

    add_calibrations(app, bridge)
    add_stream(app, bridge)
    app.include_router(inference_routes(bridge))
    if settings.admin:
        app.include_router(admin_routes(engine))

    @app.post(
        "/v1/calibrations/estimate",
        operation_id="estimate_calibration",
        summary="Calibrate cameras from a person who moves before them",
        description=calibration_documents.CALIBRATE,
        openapi_extra={"requestBody": calibration_documents.REQUEST_BODY},
        responses=calibration_documents.RESPONSES,
        response_class=Response,
    )
    async def estimate_calibration(request: Request) -> Response:
        check_query(request)
        streams = LINES in request.headers.get("accept", "").lower()
        async with AsyncExitStack() as stack:
            job = job_of(request.headers)
            with bridge.receiving(job, estimates=True):
                body = bridge.in_time(request.stream(), job)
                given = await stack.enter_async_context(read_calibration_body(request.headers, body, settings))
            if not streams:
                calibrated = await while_connected(request, bridge.calibrate(given, job))
                return Response(orjson.dumps(calibrated.to_record()), media_type="application/json")
            lines = calibration_lines(bridge, given, job)
            stack.push_async_callback(lines.aclose)
            first = await while_connected(request, anext(lines))  # what is wrong from the start gets its status
            return _Stream(_following(first, lines), LINES, stack.pop_all())
        raise AssertionError("the stack swallows no exception")

    @app.get("/v1/models", operation_id="list_models", summary="Models of this server", responses=documents.PROBLEMS)
    async def models(request: Request) -> documents.Models:
        check_query(request)
        served = [documents.Model.model_validate(model, from_attributes=True) for model in engine.models]
        return documents.Models(models=served)

    @app.get(
        "/v1/skeletons",
        operation_id="list_skeletons",
        summary="Skeletons that an answer may have",
        responses=documents.PROBLEMS,
    )
    async def skeletons(request: Request) -> documents.Skeletons:
        check_query(request)
        known = [documents.Skeleton.model_validate(s, from_attributes=True) for s in SKELETONS.values()]
        return documents.Skeletons(skeletons=known)

    @app.get(
        "/startupz",
        operation_id="startup",
        summary="Whether the models are loaded and both doors listen",
        responses=documents.BUSY,
    )
    async def startup() -> documents.State:
        lifecycle.check_startup()
        return documents.State(status="started")

    @app.get(
        "/healthz",
        operation_id="health",
        summary="Whether the process lives and nothing in it is stuck",
        responses=documents.BUSY,
    )
    async def health() -> documents.State:
        lifecycle.check_liveness()
        return documents.State(status="alive")

    @app.get("/readyz", operation_id="readiness", summary="Whether estimates are answered", responses=documents.BUSY)
    async def readiness() -> documents.State:
        lifecycle.check_readiness()
        return documents.State(status="ready")

    @app.get(
        "/metrics",
        operation_id="metrics",
        summary="Prometheus metrics",
        response_class=PlainTextResponse,
        responses={200: {"content": {"text/plain": {"example": "synpose_ready 1.0\n"}}}},
    )
    async def prometheus() -> Response:
        metrics.set_ready(lifecycle.is_ready)
        metrics.set_models({model.name: model.version for model in engine.models})
        return Response(metrics.render(), media_type=metrics.CONTENT_TYPE)

    add_page(app)
    return app


class _Stream(StreamingResponse):
    """A streamed answer that closes what it reads from, whether it is read to its end or not."""

    def __init__(self, lines: AsyncIterator[bytes], media_type: str, resources: AsyncExitStack) -> None:
        super().__init__(lines, media_type=media_type)
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._resources:
            await super().__call__(scope, receive, send)


async def _following(first: bytes, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for line in lines:
        yield line


async def _lines(running: Running, first: Frame | None) -> AsyncIterator[bytes]:
    """The lines of an answer; an error, which now comes too late for a status, is the last one."""
    yield ndjson.encode_header(running.header)
    try:
        frame = first
        while frame is not None:
            yield ndjson.encode_frame(frame)
            frame = await anext(running, None)
    except Exception as error:
        if not isinstance(error, SynposeError):
            log.exception("an estimate failed")
        yield orjson.dumps({"error": problem_of(error)}) + b"\n"
