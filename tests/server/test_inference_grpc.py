"""The raw graphs over the Open Inference Protocol's gRPC: its wire contract, and what the graphs answer."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from tests.server.test_inference import QUICK, TYPES, Array, S, described, expected, rays

from synpose.errors import Overloaded
from synpose.open_inference import inference_pb2 as pb
from synpose.open_inference import inference_pb2_grpc as pb_grpc
from synpose_server.auth import Keys
from synpose_server.bridge import Bridge
from synpose_server.engine import Engine
from synpose_server.grpc import GrpcServer
from synpose_server.http import create_app
from synpose_server.job import Job
from synpose_server.settings import Settings

pytestmark = pytest.mark.anyio

TYPED = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "FP32": "fp32_contents",
}
PUBLIC = {  # what clients have built in: number, name and type of each field
    "ServerLiveResponse": ["1 live bool"],
    "ServerReadyResponse": ["1 ready bool"],
    "ServerMetadataResponse": ["1 name string", "2 version string", "3 extensions string*"],
    "ModelReadyRequest": ["1 name string", "2 version string"],
    "ModelReadyResponse": ["1 ready bool"],
    "ModelMetadataRequest": ["1 name string", "2 version string"],
    "ModelMetadataResponse": [
        "1 name string",
        "2 versions string*",
        "3 platform string",
        "4 inputs TensorMetadata*",
        "5 outputs TensorMetadata*",
    ],
    "ModelMetadataResponse.TensorMetadata": ["1 name string", "2 datatype string", "3 shape int64*"],
    "InferParameter": [
        "1 bool_param bool",
        "2 int64_param int64",
        "3 string_param string",
        "4 double_param double",
        "5 uint64_param uint64",
    ],
    "InferTensorContents": [
        "1 bool_contents bool*",
        "2 int_contents int32*",
        "3 int64_contents int64*",
        "4 uint_contents uint32*",
        "5 uint64_contents uint64*",
        "6 fp32_contents float*",
        "7 fp64_contents double*",
        "8 bytes_contents bytes*",
    ],
    "ModelInferRequest": [
        "1 model_name string",
        "2 model_version string",
        "3 id string",
        "4 parameters ParametersEntry*",
        "5 inputs InferInputTensor*",
        "6 outputs InferRequestedOutputTensor*",
        "7 raw_input_contents bytes*",
    ],
    "ModelInferRequest.InferInputTensor": [
        "1 name string",
        "2 datatype string",
        "3 shape int64*",
        "4 parameters ParametersEntry*",
        "5 contents InferTensorContents",
    ],
    "ModelInferRequest.InferRequestedOutputTensor": ["1 name string", "2 parameters ParametersEntry*"],
    "ModelInferResponse": [
        "1 model_name string",
        "2 model_version string",
        "3 id string",
        "4 parameters ParametersEntry*",
        "5 outputs InferOutputTensor*",
        "6 raw_output_contents bytes*",
    ],
    "ModelInferResponse.InferOutputTensor": [
        "1 name string",
        "2 datatype string",
        "3 shape int64*",
        "4 parameters ParametersEntry*",
        "5 contents InferTensorContents",
    ],
}
_KINDS = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(Settings(grpc_port=0), only="quick")


class Door:
    """A started server and a channel to it."""

    def __init__(self, bridge: Bridge, port: int, channel: grpc.aio.Channel) -> None:
        self.bridge, self.target = bridge, f"127.0.0.1:{port}"
        self.channel = channel
        self.stub: pb_grpc.GRPCInferenceServiceAsyncStub = pb_grpc.GRPCInferenceServiceStub(channel)


@asynccontextmanager
async def served(engine: Engine) -> AsyncIterator[Door]:
    bridge = Bridge(engine)
    server = GrpcServer(bridge)
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Door(bridge, port, channel)
    await server.stop(0)
    bridge.close()
    await asyncio.sleep(0.1)  # gRPC delivers late what is left of an ended call, and a closed loop raises


@pytest.fixture(scope="module")
async def door(engine: Engine) -> AsyncIterator[Door]:
    async with served(engine) as door:
        yield door


def request(kind: str, inputs: dict[str, Array], raw: bool = True, **given: Any) -> pb.ModelInferRequest:
    asked = pb.ModelInferRequest(model_name=f"quick.{kind}", **given)
    for name, value in inputs.items():
        tensor = asked.inputs.add(name=name, datatype=TYPES[str(value.dtype)], shape=value.shape)
        if raw:
            asked.raw_input_contents.append(value.tobytes())
        else:
            getattr(tensor.contents, TYPED[tensor.datatype]).extend(value.ravel().tolist())
    return asked


def outputs(answer: pb.ModelInferResponse) -> dict[str, Array]:
    described = zip(answer.outputs, answer.raw_output_contents, strict=True)
    return {output.name: np.frombuffer(raw, np.float32).reshape(output.shape) for output, raw in described}


def test_wire_contract() -> None:
    """Field numbers, names and types are those of the public protocol."""

    def fields(message: Descriptor) -> list[str]:
        return [
            f"{field.number} {field.name} {field.message_type.name if field.message_type else _KINDS[field.type]}"
            + "*" * field.is_repeated
            for field in message.fields
        ]

    ours: dict[str, list[str]] = {}
    for name, message in pb.DESCRIPTOR.message_types_by_name.items():
        ours[name] = fields(message)
        ours |= {f"{name}.{nested.name}": fields(nested) for nested in message.nested_types}
    for name, listed in ours.items():
        entry = ["1 key string", "2 value InferParameter"] if name.endswith("ParametersEntry") else []
        assert listed == PUBLIC.get(name, entry), name
    assert set(PUBLIC) <= set(ours)
    (service,) = pb.DESCRIPTOR.services_by_name.values()
    assert service.full_name == "inference.GRPCInferenceService"
    assert {m.name for m in service.methods} == {
        "ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelInfer",
    }  # fmt: skip


async def test_server_and_models_are_described(door: Door) -> None:
    """Health, metadata and readiness; a graph's free dimensions are -1."""
    assert (await door.stub.ServerLive(pb.ServerLiveRequest())).live
    assert (await door.stub.ServerReady(pb.ServerReadyRequest())).ready
    assert (await door.stub.ServerMetadata(pb.ServerMetadataRequest())).name == "synpose"
    assert (await door.stub.ModelReady(pb.ModelReadyRequest(name="quick.relation"))).ready
    model = await door.stub.ModelMetadata(pb.ModelMetadataRequest(name="quick.spatial", version=QUICK.version))
    assert (model.name, list(model.versions)) == ("quick.spatial", [QUICK.version])
    assert [(t.name, t.datatype, list(t.shape)) for t in model.inputs] == [("images", "UINT8", [-1, S, S, 3])]
    assert [(t.name, t.datatype, list(t.shape)) for t in model.outputs] == [("keypoints", "FP32", [-1, 17, 3])]


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", ["spatial", "relation", "detector"])
async def test_graphs_answer_as_they_are(door: Door, kind: str, raw: bool) -> None:
    """Raw bytes or typed values: the answer is that of the graph, in batches of any size."""
    rng = np.random.default_rng(0)
    shapes = {"spatial": (4, S, S, 3), "detector": (1, 64, 96, 3)}
    inputs = rays() if kind == "relation" else {"images": rng.integers(0, 255, shapes[kind]).astype(np.uint8)}
    answer = await door.stub.ModelInfer(request(kind, inputs, raw, id="7"))
    assert (answer.id, answer.model_name, answer.model_version) == ("7", f"quick.{kind}", QUICK.version)
    truth = expected(kind, inputs)
    assert outputs(answer).keys() == truth.keys()
    for name, value in truth.items():
        np.testing.assert_allclose(outputs(answer)[name], value, atol=1e-3)


async def test_outputs_are_chosen(door: Door) -> None:
    """Only what is asked for comes."""
    wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in ("sigma", "joints")]
    assert outputs(await door.stub.ModelInfer(request("relation", rays(), outputs=wanted))).keys() == {
        "sigma",
        "joints",
    }


def broken(change: str) -> pb.ModelInferRequest:
    """A good request, changed."""
    asked = request("relation", rays())
    match change:
        case "no inputs":
            del asked.inputs[:]
        case "one raw too few":
            del asked.raw_input_contents[-1]
        case "no contents":
            del asked.raw_input_contents[:]
        case "both":
            asked.inputs[0].contents.fp32_contents.append(1)
        case "twice":
            asked.inputs[1].CopyFrom(asked.inputs[0])
        case "datatype":
            asked.inputs[0].datatype = "BYTES"
        case "half":
            del asked.raw_input_contents[:]
            asked.inputs[0].datatype = "FP16"
        case "shape":
            asked.inputs[0].shape[0] = -2
        case "dimensions":
            asked.inputs[0].shape.extend([1] * 96)
        case "nothing times too much":
            asked.inputs[0].shape[:] = [0, 2**62, 2**62]
            asked.raw_input_contents[0] = b""
        case "views":
            asked = request("relation", rays(V=17))
        case "output":
            asked.outputs.add(name="other")
        case "model":
            asked.model_name = "quick"
        case "version":
            asked.model_version = "0"
        case "too many values":
            images = np.zeros((10, S, S, 3), np.uint8)
            asked = request("spatial", {"images": images}, raw=False)
    return asked


@pytest.mark.parametrize(
    ("change", "code", "match"),
    [
        ("no inputs", "INVALID_ARGUMENT", "0 inputs"),
        ("one raw too few", "INVALID_ARGUMENT", "3 raw_input_contents"),
        ("no contents", "INVALID_ARGUMENT", "origins has 0 values"),
        ("both", "INVALID_ARGUMENT", "beside raw_input_contents"),
        ("twice", "INVALID_ARGUMENT", "came twice"),
        ("datatype", "INVALID_ARGUMENT", "there are BOOL"),
        ("half", "INVALID_ARGUMENT", "raw_input_contents only"),
        ("shape", "INVALID_ARGUMENT", "do not fill"),
        ("dimensions", "INVALID_ARGUMENT", "100 dimensions"),
        ("nothing times too much", "INVALID_ARGUMENT", "cannot have the shape"),
        ("views", "RESOURCE_EXHAUSTED", "16 views"),
        ("output", "INVALID_ARGUMENT", "there are joints"),
        ("model", "NOT_FOUND", "quick"),
        ("version", "NOT_FOUND", QUICK.version),
        ("too many values", "RESOURCE_EXHAUSTED", "send raw_input_contents"),
    ],
)
async def test_requests_that_cannot_be_run_are_told(door: Door, change: str, code: str, match: str) -> None:
    """With a status that says whose fault it is, and what to do."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.stub.ModelInfer(broken(change))
    assert caught.value.code() is grpc.StatusCode[code]
    assert match in str(caught.value.details())


async def test_bytes_that_are_no_message(door: Door) -> None:
    """They are the caller's mistake, as with the pose service."""
    method: Any = door.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await method(b"\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_uploads_are_counted(engine: Engine) -> None:
    """Inferences count among the requests that are received at a time."""
    async with served(engine) as door:
        with ExitStack() as others:
            for _ in range(engine.settings.max_uploads - 1):
                others.enter_context(door.bridge.receiving())
            await door.stub.ModelInfer(request("relation", rays()))
            others.enter_context(door.bridge.receiving())
            with pytest.raises(grpc.aio.AioRpcError, match="are being sent already") as caught:
                await door.stub.ModelInfer(request("relation", rays()))
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await door.stub.ModelInfer(request("relation", rays()))


async def test_the_line_of_estimates_is_not_theirs(engine: Engine, door: Door) -> None:
    """A raw graph waits for no place: what estimates run and how long they take refuses nobody, over either door."""
    http = httpx.AsyncClient(transport=httpx.ASGITransport(create_app(door.bridge)), base_url="http://synpose")
    inputs, admission = rays(), door.bridge.admission
    head = json.dumps({"inputs": described(inputs, binary=False)}).encode()
    async with AsyncExitStack() as stack:
        for _ in range(engine.settings.max_clips):
            place = await stack.enter_async_context(admission.place(Job(), 4, 1000, "quick"))
            place.begin()
            place.end()
            for beside in range(engine.settings.max_clips):
                place._pace.add(1, True, 1000.0, beside)
        with pytest.raises(Overloaded):
            admission.check(Job(30))
        assert await door.stub.ModelInfer(request("relation", inputs), timeout=30)
        await stack.enter_async_context(http)
        answer = await http.post("/v2/models/quick.relation/infer", content=head, headers={"x-request-timeout": "30"})
        assert answer.status_code == 200


async def test_nothing_is_run_after_the_deadline(engine: Engine, door: Door) -> None:
    """What still waits for its graph when the caller's deadline passes is dropped."""
    graph, counts, go = engine.model("quick").graphs["relation"], engine.stats.counts, threading.Event()
    executed = counts[graph.name, "executed"]
    graph._threads.submit(go.wait, 10)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.stub.ModelInfer(request("relation", rays()), timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.sleep(0.1)  # until the server has noticed, too
    go.set()
    await door.stub.ModelInfer(request("relation", rays()))
    assert counts[graph.name, "expired"] + counts[graph.name, "cancelled"] == 1
    assert counts[graph.name, "executed"] == executed + 1


async def test_keys_need_the_scope(tmp_path: Path) -> None:
    """As with `/v2`: models need the scope `estimate`, what the server is any key, and its probes none."""
    known, secret = Keys().with_new("prom", ("metrics",), None, None)
    known, lab = known.with_new("lab", ("estimate",), None, None)
    known.write(tmp_path / "keys.json")
    async with served(Engine(Settings(grpc_port=0, keys=tmp_path / "keys.json"), only="quick")) as door:
        for method, asked, codes in (
            (door.stub.ServerLive, pb.ServerLiveRequest(), ["OK", "OK", "OK"]),
            (door.stub.ServerReady, pb.ServerReadyRequest(), ["OK", "OK", "OK"]),
            (door.stub.ServerMetadata, pb.ServerMetadataRequest(), ["UNAUTHENTICATED", "OK", "OK"]),
            (
                door.stub.ModelReady,
                pb.ModelReadyRequest(name="quick.spatial"),
                ["UNAUTHENTICATED", "PERMISSION_DENIED", "OK"],
            ),
            (door.stub.ModelInfer, request("relation", rays()), ["UNAUTHENTICATED", "PERMISSION_DENIED", "OK"]),
        ):
            for key, code in zip((None, secret, lab), codes, strict=True):
                call: Any = method
                answer = call(asked, metadata=[("x-api-key", key)] if key else None)
                assert await answer.code() is grpc.StatusCode[code], (asked, key)


async def test_triton_s_client(door: Door) -> None:
    """A client that knows nothing of Synpose is answered what the graph answers."""
    if importlib.util.find_spec("tritonclient") is None:
        pytest.skip("NOT TESTED WITH TRITON'S CLIENT: it is not installed; pip install 'tritonclient[grpc]'")
    command = [sys.executable, str(Path(__file__).with_name("triton_client.py")), door.target, "quick.spatial", str(S)]
    run = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    images = np.random.default_rng(0).integers(0, 255, (3, S, S, 3)).astype(np.uint8)
    truth = expected("spatial", {"images": images})["keypoints"]
    np.testing.assert_allclose(told.pop("keypoints"), truth, atol=1e-3)
    assert told == {
        "live": True,
        "ready": True,
        "server": "synpose",
        "model_ready": True,
        "inputs": [["images", "UINT8", [-1, S, S, 3]]],
        "outputs": [["keypoints", "FP32", [-1, 17, 3]]],
        "id": "7",
        "refused": "StatusCode.INVALID_ARGUMENT",
    }
