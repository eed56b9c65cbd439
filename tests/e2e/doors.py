"""The same request through each door of a server, by its wire alone, and what each answered in common terms."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
from numpy.typing import NDArray
from tests.e2e.clip import CALIBRATION, CAMERAS, video

from synpose.skeleton import COCO17
from synpose.v1 import pose_pb2 as pb
from synpose.v1 import pose_pb2_grpc as pb_grpc

__all__ = ["DOORS", "Answer", "Refusal", "Request", "Server"]

_SECONDS = 30.0
_UNKNOWN = [math.nan] * 3


@dataclass(frozen=True)
class Server:
    """A running server: its two addresses, its process and its log."""

    url: str
    target: str
    pid: int
    log: Path


@dataclass(frozen=True)
class Request:
    """What a client sends, right or wrong. `options` is a JSON text, or a mapping that every door can tell."""

    calibration: Sequence[bytes] = (CALIBRATION,)
    videos: Sequence[tuple[str, bytes]] = field(default_factory=lambda: [(camera, video(camera)) for camera in CAMERAS])
    frame_sets: Sequence[Mapping[str, bytes]] | None = None
    timestamps: Sequence[float] | None = None
    options: Mapping[str, Any] | str = field(default_factory=dict)
    accept: str = "application/json"

    def with_video(self, camera: str, content: bytes | None) -> Request:
        """The request with another video of one camera, or without it."""
        videos = [(name, content if name == camera else own) for name, own in self.videos]
        return replace(self, videos=[(name, video) for name, video in videos if video is not None])

    @property
    def all_options(self) -> dict[str, Any]:
        assert not isinstance(self.options, str), "this door has no text of options"
        return {"model": "fast", **self.options}


@dataclass(frozen=True)
class Refusal:
    """An error as a door told it; `status` is the HTTP status or the name of the gRPC code."""

    status: int | str
    type: str
    field: str | None
    camera: str | None
    detail: str


@dataclass(frozen=True)
class Answer:
    """Joints `(T, J, 3)` of the first person, NaN where there is none, and (code, camera) of all notices."""

    joints: NDArray[np.float64]
    times: tuple[float, ...]
    notices: frozenset[tuple[str, str | None]]


def _http(server: Server, request: Request) -> Answer | Refusal:
    """REST, multipart."""
    options = request.options if isinstance(request.options, str) else json.dumps(request.all_options)
    parts: list[tuple[str, tuple[str, bytes]]] = [
        ("calibration", (f"calibration{k}.json", content)) for k, content in enumerate(request.calibration)
    ]
    parts.append(("options", ("", options.encode())))
    if request.frame_sets is None:
        parts += [("video", (f"{camera}.mp4", content)) for camera, content in request.videos]
    else:
        parts += [
            ("frame", (f"{camera}/{index}.jpg", image))
            for index, images in enumerate(request.frame_sets)
            for camera, image in images.items()
        ]
    if request.timestamps is not None:
        parts.append(("timestamps", ("", json.dumps(request.timestamps).encode())))
    return _post(server, request, {"files": parts})


def _json(server: Server, request: Request) -> Answer | Refusal:
    """REST, JSON with images in base64."""
    assert request.frame_sets is not None, "only images travel as JSON"
    times: Sequence[float | None] = request.timestamps or [None] * len(request.frame_sets)
    document = {
        "calibration": json.loads(request.calibration[0]),
        "options": json.loads(request.options) if isinstance(request.options, str) else request.all_options,
        "frame_sets": [
            {"timestamp": time, "images": {name: base64.b64encode(image).decode() for name, image in images.items()}}
            for time, images in zip(times, request.frame_sets, strict=True)
        ],
    }
    headers = {"content-type": "application/json"}
    return _post(server, request, {"content": json.dumps(document).encode(), "headers": headers})


def _post(server: Server, request: Request, body: dict[str, Any]) -> Answer | Refusal:
    headers = {**body.pop("headers", {}), "accept": request.accept}
    response = httpx.post(f"{server.url}/v1/pose3d", headers=headers, timeout=_SECONDS, **body)
    document = response.json()
    if response.status_code != 200:
        assert response.headers["content-type"] == "application/problem+json"
        assert document["status"] == response.status_code
        return _refusal(response.status_code, document)
    return Answer(
        joints=_stacked(
            [joint or _UNKNOWN for joint in frame["people"][0]["joints"]] if frame["people"] else None
            for frame in document["frames"]
        ),
        times=tuple(frame["timestamp"] for frame in document["frames"]),
        notices=frozenset((notice["code"], notice.get("camera")) for notice in document.get("notices", [])),
    )


def _grpc_clip(server: Server, request: Request) -> Answer | Refusal:
    """gRPC, `EstimateClip`."""

    def parts() -> Iterator[pb.EstimateClipRequest]:
        start = pb.EstimateClipRequest.Start(
            calibration=_calibration(request), options=pb.Options(**request.all_options)
        )
        yield pb.EstimateClipRequest(start=start)
        for frame_set in _frame_sets(request):
            yield pb.EstimateClipRequest(frame_set=frame_set)
        if request.frame_sets is None:
            for camera, content in request.videos:
                for k in range(0, max(1, len(content)), 1 << 20):
                    chunk = pb.EstimateClipRequest.Chunk(camera=camera, data=content[k : k + (1 << 20)])
                    yield pb.EstimateClipRequest(chunk=chunk)

    def call(stub: Any) -> list[pb.Frame]:
        responses = stub.EstimateClip(parts(), timeout=_SECONDS)
        first, *rest = (response for response in responses if response.ListFields())
        assert first.HasField("header")
        return [part.frame for part in rest]

    return _called(server, call)


def _grpc_unary(server: Server, request: Request) -> Answer | Refusal:
    """gRPC, `EstimatePose3D`."""
    assert request.frame_sets is not None, "only images travel in one message"
    message = pb.EstimatePose3DRequest(
        calibration=_calibration(request),
        options=pb.Options(**request.all_options),
        frame_sets=_frame_sets(request),
    )
    return _called(server, lambda stub: list(stub.EstimatePose3D(message, timeout=_SECONDS).frames))


def _calibration(request: Request) -> pb.Calibration:
    files = [pb.Calibration.File(name=f"{k}.json", content=content) for k, content in enumerate(request.calibration)]
    return pb.Calibration(files=files)


def _frame_sets(request: Request) -> list[pb.FrameSet]:
    sets = request.frame_sets or []
    times: Sequence[float | None] = request.timestamps or [None] * len(sets)
    return [
        pb.FrameSet(timestamp=time, images=[pb.Image(camera=name, data=image) for name, image in images.items()])
        for time, images in zip(times, sets, strict=True)
    ]


def _called(server: Server, call: Callable[[Any], list[pb.Frame]]) -> Answer | Refusal:
    with grpc.insecure_channel(server.target) as channel:
        try:
            frames = call(pb_grpc.PoseServiceStub(channel))
        except grpc.RpcError as error:
            problem = next(pair.value for pair in error.trailing_metadata() or () if pair.key == "synpose-problem-bin")
            return _refusal(error.code().name, json.loads(problem))
    return Answer(
        joints=_stacked([_joint(j) for j in f.people[0].joints] if f.people else None for f in frames),
        times=tuple(frame.timestamp for frame in frames),
        notices=frozenset(
            (notice.code, notice.camera if notice.HasField("camera") else None)
            for frame in frames
            for notice in frame.notices
        ),
    )


def _joint(joint: pb.Joint) -> list[float]:
    at = joint.position
    return [at.x, at.y, at.z] if joint.HasField("position") else _UNKNOWN


def _stacked(people: Iterable[list[list[float]] | None]) -> NDArray[np.float64]:
    nobody = [_UNKNOWN] * len(COCO17)
    return np.array([nobody if joints is None else joints for joints in people], dtype=np.float64)


def _refusal(status: int | str, problem: dict[str, Any]) -> Refusal:
    kind = problem["type"].removeprefix("urn:synpose:problem:")
    return Refusal(status, kind, problem.get("field"), problem.get("camera"), problem["detail"])


DOORS: dict[str, Callable[[Server, Request], Answer | Refusal]] = {
    "http": _http,
    "json": _json,
    "grpc": _grpc_clip,
    "grpc-unary": _grpc_unary,
}
