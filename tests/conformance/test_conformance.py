"""What every way of serving must do: the answers of this machine's engine, by every door, and streams that go on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.e2e.clip import CALIBRATION, CAMERAS, FPS, FRAMES, RIG, jpegs
from tests.e2e.doors import DOORS, Answer, Refusal, Request, Server
from tests.server.relay import Relay

import synpose
import synpose_model
from synpose.errors import NotFound
from synpose.live import StreamPolicy
from synpose.open_inference import inference_pb2, inference_pb2_grpc
from synpose.options import Options
from synpose.pose import Frame
from synpose.skeleton import BODY27
from synpose_model.crop import NOWHERE
from synpose_server.engine import Engine
from synpose_server.requests import gather_images, match_sources
from synpose_server.settings import Settings

MODEL = "fast"
BUNDLES = Path(synpose_model.__file__).parent / "bundles"
MANIFEST = json.loads((BUNDLES / MODEL / "manifest.json").read_text())
LOOK_AHEAD: int = MANIFEST["look_ahead"]
CROP = (MANIFEST["crop_size"],) * 2
EVERY = StreamPolicy(mode="every")
AGREE = 1e-4  # metres
TIMES = [k / FPS for k in range(FRAMES)]
SETS = [{camera: jpegs(camera)[k] for camera in CAMERAS} for k in range(FRAMES)]
DOOR = pytest.mark.parametrize("door", ["websocket", "grpc"])

Joints = NDArray[np.float64]


def address(server: Server, door: str) -> str:
    return server.url if door == "websocket" else f"grpc://{server.target}"


def joints_of(frames: list[Frame]) -> Joints:
    return np.array([frame.people[0].joints for frame in frames])


@pytest.fixture(scope="module")
def expected() -> Joints:
    """Joints `(T, J, 3)` of the clip by an engine in this process."""
    settings = Settings()
    sources = match_sources(RIG, gather_images(RIG, SETS, settings), settings)
    return joints_of(list(Engine(settings).estimate(RIG, sources, Options(model=MODEL, fps=FPS))))


@pytest.mark.parametrize("door", DOORS)
def test_answers_are_those_of_the_engine(server: Server, expected: Joints, door: str) -> None:
    """A clip of images has the same joints by each door."""
    answer = DOORS[door](server, Request(frame_sets=SETS, timestamps=TIMES))
    assert isinstance(answer, Answer), answer
    np.testing.assert_allclose(answer.joints, expected, atol=AGREE)


@pytest.mark.parametrize("door", ["http", "grpc"])
def test_videos_are_answered(server: Server, door: str) -> None:
    """A clip of videos is answered, frame by frame."""
    answer = DOORS[door](server, Request())
    assert isinstance(answer, Answer), answer
    assert np.isfinite(answer.joints).any((1, 2)).sum() == FRAMES


@pytest.mark.parametrize("door", DOORS)
def test_refusals_are_told(server: Server, door: str) -> None:
    """What is wrong with a request comes as the same problem by each door."""
    refusal = DOORS[door](server, Request(frame_sets=SETS, options={"model": "big"}))
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.type) == (404 if door in ("http", "json") else "NOT_FOUND", "not-found")
    assert "big" in refusal.detail


@DOOR
def test_clients_agree(server: Server, expected: Joints, door: str) -> None:
    """The Python client finds the server ready, its models, and the joints; it raises what a refusal says."""
    with synpose.Client(address(server, door)) as client:
        assert client.ready()
        assert MODEL in [model.name for model in client.models()]
        sequence = client.estimate_frames(SETS, RIG, timestamps=TIMES, model=MODEL)
        np.testing.assert_allclose(joints_of(list(sequence.frames)), expected, atol=AGREE)
        with pytest.raises(NotFound, match="big"):
            client.estimate_frames(SETS, RIG, model="big")


@DOOR
def test_streams_answer_as_clips(server: Server, expected: Joints, door: str) -> None:
    """A stream with the model's look-ahead gives the joints of the clip, though its connection breaks."""
    policy = StreamPolicy(mode="every", look_ahead=LOOK_AHEAD)
    again = threading.Semaphore(0)

    def sets() -> Iterator[tuple[float, Mapping[str, bytes]]]:
        for k, time in enumerate(TIMES):
            if k > LOOK_AHEAD:  # each makes one more result: not before the last one came and its connection broke
                assert again.acquire(timeout=60)
            yield time, SETS[k]

    target = server.url.removeprefix("http://") if door == "websocket" else server.target
    with Relay(target) as relay:
        scheme = "http" if door == "websocket" else "grpc"
        with (
            synpose.Client(f"{scheme}://{relay.address}") as client,
            client.live(RIG, policy, model=MODEL, fps=FPS) as stream,
        ):
            poses = []
            for pose in stream.follow(sets()):
                poses.append(pose)
                if pose.sequence < FRAMES - LOOK_AHEAD - 1:
                    relay.cut()
                    again.release()
        assert relay.connections >= FRAMES - LOOK_AHEAD
    assert stream.restarts == 0
    assert [pose.sequence for pose in poses] == list(range(FRAMES))
    np.testing.assert_allclose(joints_of([pose.frame for pose in poses]), expected, atol=AGREE)


def test_calibrations_are_known_everywhere(server: Server) -> None:
    """A calibration that was sent once is had back, and named by streams, however often one asks."""
    digest = httpx.post(f"{server.url}/v1/calibrations", content=CALIBRATION, timeout=30).json()["hash"]
    for _ in range(6):
        assert httpx.get(f"{server.url}/v1/calibrations/{digest}", timeout=30).content == CALIBRATION
    with synpose.Client(server.url) as client:
        for _ in range(3):
            with client.live(synpose.Hash(digest), EVERY, model=MODEL) as stream:
                assert len(list(stream.follow([(0.0, SETS[0])]))) == 1


def test_raw_graphs_are_answered_alike(server: Server) -> None:
    """The Open Inference Protocol gives the same numbers over HTTP and gRPC, and the same refusal."""
    images = np.random.default_rng(0).integers(0, 255, (2, *CROP, 3)).astype(np.uint8)
    expected = np.full((2, len(BODY27), 2), NOWHERE * CROP[0], np.float32)
    given: dict[str, tuple[str, NDArray[Any]]] = {"images": ("UINT8", images), "expected": ("FP32", expected)}
    tensors = [{"name": n, "shape": list(array.shape), "datatype": of} for n, (of, array) in given.items()]
    listed = [
        {**tensor, "data": array.ravel().tolist()} for tensor, (_, array) in zip(tensors, given.values(), strict=True)
    ]
    url = f"{server.url}/v2/models/{MODEL}.spatial"
    answer = httpx.post(f"{url}/infer", json={"inputs": listed}, timeout=60)
    by_http = {output["name"]: output["data"] for output in answer.json()["outputs"]}
    with grpc.insecure_channel(server.target) as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert stub.ServerLive(inference_pb2.ServerLiveRequest()).live
        assert stub.ServerReady(inference_pb2.ServerReadyRequest()).ready
        assert stub.ServerMetadata(inference_pb2.ServerMetadataRequest()).name == "synpose"
        assert stub.ModelReady(inference_pb2.ModelReadyRequest(name=f"{MODEL}.spatial")).ready
        metadata = stub.ModelMetadata(inference_pb2.ModelMetadataRequest(name=f"{MODEL}.spatial"))
        assert [output.name for output in metadata.outputs] == list(by_http)
        raw = [array.tobytes() for _, array in given.values()]
        request = inference_pb2.ModelInferRequest(model_name=f"{MODEL}.spatial", raw_input_contents=raw)
        for tensor in tensors:
            request.inputs.add(**tensor)
        response = stub.ModelInfer(request, timeout=60)
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True):
            np.testing.assert_allclose(np.frombuffer(content, np.float32), by_http[output.name], atol=1e-3)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelReady(inference_pb2.ModelReadyRequest(name="none.spatial"))
    assert (caught.value.code(), httpx.get(f"{server.url}/v2/models/none.spatial").status_code) == (
        grpc.StatusCode.NOT_FOUND,
        404,
    )
