"""The Open Inference Protocol, version 2, over HTTP, with binary tensors.

The raw graphs for clients that speak to Triton and KServe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version as version_of
from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response

from synpose.errors import InvalidInput, LimitExceeded, Overloaded, SynposeError, status_of
from synpose_server.batcher import Arrays
from synpose_server.bridge import Bridge
from synpose_server.http.connected import while_connected
from synpose_server.http.deadline import job_of
from synpose_server.inference import DATATYPES, RawGraph, Tensor, find_graph, tensor_of
from synpose_server.job import Job

__all__ = ["HEADER", "inference_routes"]

HEADER = "inference-header-content-length"
"""How many bytes of a body with binary tensors are JSON, which comes first; of requests and of answers."""

_MOST_DIGITS = 18  # of a length
_MOST_BYTES, _MOST_JSON = 128 << 20, 16 << 20  # a body is held in memory, and parsed JSON takes several times its size


def inference_routes(bridge: Bridge) -> APIRouter:
    """Routes under `/v2`; errors are what the protocol has: `{"error": "…"}` with a status."""
    routes = APIRouter(prefix="/v2", include_in_schema=False)
    engine = bridge.engine

    @routes.get("")
    async def server() -> dict[str, Any]:
        return {"name": "synpose", "version": version_of("synpose"), "extensions": ["binary_tensor_data"]}

    @routes.get("/health/live")
    async def live() -> Response:
        return _probed("live", bridge.lifecycle.is_alive)

    @routes.get("/health/ready")
    async def ready() -> Response:
        return _probed("ready", bridge.lifecycle.is_ready)

    @routes.get("/models/{name}")
    @routes.get("/models/{name}/versions/{version}")
    async def metadata(name: str, version: str | None = None) -> Response:
        try:
            graph = find_graph(engine, name, version)
        except SynposeError as error:
            return _failure(error)
        return _json(
            {
                "name": name,
                "versions": [graph.version],
                "platform": "onnxruntime_onnx",
                "inputs": list(map(Tensor._asdict, graph.inputs)),
                "outputs": list(map(Tensor._asdict, graph.outputs)),
            }
        )

    @routes.get("/models/{name}/ready")
    @routes.get("/models/{name}/versions/{version}/ready")
    async def model_ready(name: str, version: str | None = None) -> Response:
        try:
            find_graph(engine, name, version)
        except SynposeError as error:
            return _failure(error)
        return _json({"name": name, "ready": True})

    @routes.post("/models/{name}/infer")
    @routes.post("/models/{name}/versions/{version}/infer")
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        try:
            graph, job = find_graph(engine, name, version), job_of(request.headers)
            with bridge.receiving(job):
                body = await _body(bridge, request, job)
                asked, inputs = _inputs(body, request.headers.get(HEADER))
                wanted = _wanted(asked, graph)
                outputs = await while_connected(request, graph.run(inputs, job))
            return _answer(asked, name, graph, {output: outputs[output] for output in wanted}, wanted)
        except SynposeError as error:
            return _failure(error)

    return routes


async def _body(bridge: Bridge, request: Request, job: Job) -> bytes:
    body, most = bytearray(), min(bridge.engine.settings.max_body_bytes, _MOST_BYTES)
    async for chunk in bridge.in_time(request.stream(), job):
        body += chunk
        if len(body) > most:
            raise LimitExceeded(f"the body is larger than {most} bytes", field="body")
    return bytes(body)


def _inputs(body: bytes, header: str | None) -> tuple[dict[str, Any], Arrays]:
    """The request's JSON, and its inputs: as numbers in it, or as bytes behind it in their order."""
    length = len(body)
    if header is not None:
        if not header.isdecimal() or len(header) > _MOST_DIGITS or int(header) > len(body):
            raise InvalidInput("Inference-Header-Content-Length is no length within the body", field=HEADER)
        length = int(header)
    if length > _MOST_JSON:
        raise LimitExceeded(f"more than {_MOST_JSON >> 20} MiB of JSON; send binary tensors", field="body")
    try:
        asked = orjson.loads(body[:length])
        inputs, start = {}, length
        for given in asked["inputs"]:
            name, shape, data = str(given["name"]), [int(side) for side in given["shape"]], given.get("data")
            size = (given.get("parameters") or {}).get("binary_data_size")
            if size is not None:
                data = body[start : start + int(size)]
                start += int(size)
            if data is None:
                raise InvalidInput(f"{name} has no data", field=name)
            if name in inputs:
                raise InvalidInput(f"{name} came twice", field=name)
            inputs[name] = tensor_of(str(given["datatype"]), shape, data, name)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InvalidInput(f"the body is no inference request ({error})", field="body") from None
    if start != len(body):
        raise InvalidInput(f"the inputs take {start} bytes of a body of {len(body)}", field="body")
    return asked, inputs


def _wanted(asked: Mapping[str, Any], graph: RawGraph) -> dict[str, bool]:
    """The outputs that are asked for, all if none is named, and whether each is answered as bytes."""
    outputs: Sequence[Mapping[str, Any]] = asked.get("outputs") or ()
    try:
        binary = bool((asked.get("parameters") or {}).get("binary_data_output", False))
        named = {str(o["name"]): bool((o.get("parameters") or {}).get("binary_data", binary)) for o in outputs}
    except (KeyError, TypeError, AttributeError):
        raise InvalidInput(
            "outputs must be a list of objects with a name, and parameters objects", field="outputs"
        ) from None
    return {name: named.get(name, binary) for name in graph.wanted(named)}


def _answer(
    asked: Mapping[str, Any], name: str, graph: RawGraph, outputs: Arrays, binary: Mapping[str, bool]
) -> Response:
    types = {output.name: output.datatype for output in graph.outputs}
    described, tail = [], []
    for key, value in outputs.items():
        entry: dict[str, Any] = {"name": key, "datatype": types[key], "shape": list(value.shape)}
        if binary[key]:
            content = value.astype(DATATYPES[types[key]]).tobytes()
            entry["parameters"] = {"binary_data_size": len(content)}
            tail.append(content)
        else:  # JSON knows no NaN: what cannot be known is null
            numbers = value.reshape(-1)
            known = np.isfinite(numbers) if numbers.dtype.kind == "f" else np.ones(len(numbers), bool)
            entry["data"] = [x if ok else None for x, ok in zip(numbers.tolist(), known, strict=True)]
        described.append(entry)
    answer = {"model_name": name, "model_version": graph.version, "outputs": described}
    if isinstance(asked.get("id"), str):
        answer["id"] = asked["id"]
    head = orjson.dumps(answer)
    if not tail:
        return Response(head, media_type="application/json")
    return Response(b"".join([head, *tail]), headers={HEADER: str(len(head))}, media_type="application/octet-stream")


def _failure(error: SynposeError) -> Response:
    status = 400 if isinstance(error, InvalidInput) else status_of(error).http
    response = _json({"error": str(error)}, status)
    if isinstance(error, Overloaded):
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after or 1)))
    return response


def _probed(name: str, passes: bool) -> Response:
    return _json({name: passes}, 200 if passes else 503)


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
