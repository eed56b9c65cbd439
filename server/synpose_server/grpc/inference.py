"""The methods of `inference.GRPCInferenceService`, the Open Inference Protocol over gRPC: the raw graphs, as `/v2`."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Any

from synpose.errors import InvalidInput, LimitExceeded
from synpose.open_inference import inference_pb2 as pb
from synpose.open_inference import inference_pb2_grpc as pb_grpc
from synpose_server.batcher import Arrays
from synpose_server.bridge import Bridge
from synpose_server.grpc.errors import Context
from synpose_server.grpc.upload import check_size
from synpose_server.inference import DATATYPES, RawGraph, Tensor, find_graph, tensor_of
from synpose_server.job import Job

__all__ = ["InferenceService"]

_CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
}
_MOST_TYPED = 1 << 20  # values that are numbers of Python on their way, at the event loop's expense


class InferenceService(pb_grpc.GRPCInferenceServiceServicer):
    """Exceptions of `synpose.errors` leave the methods as they are; `ErrorInterceptor` answers them."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    async def ServerLive(  # noqa: N802 - the name in the proto
        self, request: pb.ServerLiveRequest, context: Context
    ) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=self._bridge.lifecycle.is_alive)

    async def ServerReady(  # noqa: N802
        self, request: pb.ServerReadyRequest, context: Context
    ) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._bridge.lifecycle.is_ready)

    async def ServerMetadata(  # noqa: N802
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="synpose", version=version_of("synpose"))

    async def ModelReady(  # noqa: N802
        self, request: pb.ModelReadyRequest, context: Context
    ) -> pb.ModelReadyResponse:
        self._graph(request.name, request.version)
        return pb.ModelReadyResponse(ready=True)

    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        graph = self._graph(request.name, request.version)
        return pb.ModelMetadataResponse(
            name=graph.name,
            versions=[graph.version],
            platform="onnxruntime_onnx",
            inputs=map(_described, graph.inputs),
            outputs=map(_described, graph.outputs),
        )

    async def ModelInfer(  # noqa: N802
        self, request: pb.ModelInferRequest, context: Context
    ) -> pb.ModelInferResponse:
        job = Job(context.time_remaining())
        check_size(request.ByteSize(), self._bridge.engine.settings)
        graph = self._graph(request.model_name, request.model_version)
        wanted = graph.wanted(output.name for output in request.outputs)
        with self._bridge.receiving(job):
            outputs = await graph.run(_inputs(request), job)
        return _answer(request, graph, {name: outputs[name] for name in wanted})

    def _graph(self, name: str, version: str) -> RawGraph:
        return find_graph(self._bridge.engine, name, version)


def _described(tensor: Tensor) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(**tensor._asdict())


def _inputs(request: pb.ModelInferRequest) -> Arrays:
    """The inputs by name, from raw bytes or typed values; raises `InvalidInput` or `LimitExceeded`."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidInput(
            f"{len(raw)} raw_input_contents came for {len(request.inputs)} inputs; each needs one: there is no shared"
            " memory here",
            field="raw_input_contents",
        )
    inputs: Arrays = {}
    for index, given in enumerate(request.inputs):
        if raw and given.HasField("contents"):
            raise InvalidInput(f"{given.name} has contents beside raw_input_contents", field=given.name)
        if given.name in inputs:
            raise InvalidInput(f"{given.name} came twice", field=given.name)
        data = raw[index] if raw else _values(given)
        inputs[given.name] = tensor_of(given.datatype, given.shape, data, given.name)
    return inputs


def _values(given: pb.ModelInferRequest.InferInputTensor) -> list[Any]:
    """The typed values of an input."""
    contents = _CONTENTS.get(given.datatype)
    if contents is None and given.datatype in DATATYPES:
        raise InvalidInput(f"{given.datatype} comes as raw_input_contents only", field=given.name)
    values = getattr(given.contents, contents) if contents else ()  # `tensor_of` says which datatypes there are
    if len(values) > _MOST_TYPED:
        raise LimitExceeded(f"more than {_MOST_TYPED} values; send raw_input_contents", field=given.name)
    return list(values)


def _answer(request: pb.ModelInferRequest, graph: RawGraph, outputs: Arrays) -> pb.ModelInferResponse:
    types = {output.name: output.datatype for output in graph.outputs}
    return pb.ModelInferResponse(
        model_name=graph.name,
        model_version=graph.version,
        id=request.id,
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(name=name, datatype=types[name], shape=value.shape)
            for name, value in outputs.items()
        ],
        raw_output_contents=[value.astype(DATATYPES[types[name]]).tobytes() for name, value in outputs.items()],
    )
