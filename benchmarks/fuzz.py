"""Messages, bodies and media files made wrong, against a real server: nothing fails, nothing grows.

    python benchmarks/fuzz.py
    python benchmarks/fuzz.py --count 300 --seed 7
    python benchmarks/fuzz.py --seed 1 --first 1234 --count 1

Message `number` of a seed is always the same; they take turns between HTTP bodies, gRPC messages, messages of live
streams (WebSocket and gRPC) and good requests with broken JPEG, PNG or MP4 files. An answer of 5xx other than 503, of
gRPC's INTERNAL, UNKNOWN, UNAVAILABLE, none within 30 seconds or a connection that is closed without one is a failure.
Every 50 messages a good request must get the answer that it got at first. The memory of the process is sampled;
from 1000 messages on its mean over the last quarter may exceed that over the second by 5 % at most. Exit status 1 if
anything of this does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import av
import cv2
import grpc
import httpx
import numpy as np
import psutil
from cameras import CLIP, workload
from mutations import mangled, mangled_json, mangled_media, reordered
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage

from synpose import live_json, live_wire
from synpose.bench import Workload
from synpose.bench.loopback import Loopback, loopback
from synpose.live import Capture, End, Start, StreamPolicy
from synpose.open_inference import inference_pb2
from synpose.v1 import pose_pb2 as pb
from synpose.v1 import pose_pb2_grpc as pb_grpc
from synpose.wire import calibration_to_message, options_to_message

SECONDS = 30.0
EVERY = 50  # messages between good requests
ENOUGH = 20  # failures
GROWTH, JUDGED_FROM = 1.05, 1000
BROKEN = {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED", "DATA_LOSS"}
FORMATS = ("json", "ndjson", "csv", "trc", "c3d", "bvh", "glb", "npz", "parquet", "x")
OTHERS = ("/grpc.health.v1.Health/Check", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
IMPATIENT = {
    "SYNPOSE_UPLOAD_SECONDS": "5",
    "SYNPOSE_STREAM_IDLE_SECONDS": "5",
    "SYNPOSE_STREAM_RESUME_SECONDS": "2",
    "SYNPOSE_LOG_LEVEL": "error",
}


@dataclass
class Wire:
    """The connections to the server."""

    http: httpx.AsyncClient
    channel: grpc.Channel
    socket: str

    async def post(self, path: str, content: bytes, headers: Mapping[str, str], method: str = "POST") -> str:
        try:
            response = await self.http.request(method, path, content=content, headers=dict(headers))
        except httpx.TimeoutException:
            return "HTTP nothing"
        except httpx.TransportError as error:
            return f"HTTP closed: {error!r}"
        if response.headers.get("content-type") == "application/x-ndjson" and b'"error"' in response.content[-2000:]:
            return f"HTTP {json.loads(response.content.splitlines()[-1])['error']['status']} in the stream"
        return f"HTTP {response.status_code}"

    async def call(self, method: str, *messages: bytes) -> str:
        """A call with all of its messages; those of unary methods have one."""
        return await asyncio.to_thread(self._call, method, messages)

    def _call(self, method: str, messages: Sequence[bytes]) -> str:
        # not by grpc.aio, whose calls lose the status of one that ends while they still write
        call: grpc.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(method)
        try:
            for _ in call(iter(messages), timeout=SECONDS):
                pass
        except grpc.RpcError as error:
            return f"gRPC {error.code().name}" + (f": {error.details()}" if error.code().name in BROKEN else "")
        return "gRPC OK"

    async def converse(self, messages: Sequence[str | bytes]) -> str:
        try:
            async with asyncio.timeout(SECONDS), connect(self.socket, max_size=None) as socket:
                try:
                    for message in messages:
                        await socket.send(message)
                    while True:
                        await socket.recv()
                except ConnectionClosed as closed:
                    return f"WebSocket {closed.rcvd.code if closed.rcvd else 'closed'}"
        except TimeoutError:
            return "WebSocket nothing"
        except (InvalidMessage, OSError) as error:
            return f"WebSocket closed: {error!r}"


Case: TypeAlias = Callable[[Wire], Awaitable[str]]


class Samples:
    """Good requests of two small cameras, to be made wrong."""

    def __init__(self, work: Workload) -> None:
        self.work = work
        self.cameras = work.cameras
        self.rig = work.calibration["calibration.json"]
        self.calibrations = (self.rig, (CLIP / "Calib.qca.txt").read_bytes())
        self.jpegs = [work.frame_sets[0][camera] for camera in self.cameras]
        pixels = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) for jpeg in self.jpegs]
        self.pngs = [cv2.imencode(".png", image)[1].tobytes() for image in pixels]
        self.videos = [
            video([cv2.imdecode(np.frombuffer(s[camera], np.uint8), cv2.IMREAD_COLOR) for s in work.frame_sets])
            for camera in self.cameras
        ]
        self.answer: Any = None  # to the good request

    def options(self, chance: Random) -> dict[str, Any]:
        given = {"model": "quick", "skeleton": chance.choice(("coco17", "halpe26", "h36m17")), "max_people": 1}
        return mangled_json(given, chance) if chance.random() < 0.1 else given

    def form(self, files: Sequence[bytes], field: str, options: Any, rig: bytes | None = None) -> bytes:
        """A multipart body of one image or video a camera."""
        names = [f"{c}/0.jpg" if field == "frame" else f"{c}.mp4" for c in self.cameras]
        parts = [("calibration", "rig.json", self.rig if rig is None else rig), ("options", None, dump(options))]
        parts += [(field, name, file) for name, file in zip(names, files, strict=True)]
        body = b""
        for name, filename, content in parts:
            head = f'--fuzz\r\nContent-Disposition: form-data; name="{name}"'
            head += f'; filename="{filename}"' if filename else ""
            body += head.encode() + b"\r\n\r\n" + content + b"\r\n"
        return body + b"--fuzz--\r\n"

    def document(self, images: Sequence[bytes], options: Any) -> dict[str, Any]:
        """A JSON body of one frame set."""
        coded = {c: base64.b64encode(image).decode() for c, image in zip(self.cameras, images, strict=True)}
        return {
            "calibration": json.loads(self.rig),
            "options": options,
            "frame_sets": [{"timestamp": 0.5, "images": coded}],
        }

    def message(self, images: Sequence[bytes]) -> pb.EstimatePose3DRequest:
        pairs = zip(self.cameras, images, strict=True)
        return pb.EstimatePose3DRequest(
            calibration=calibration_to_message({"rig.json": self.rig}),
            options=options_to_message(self.work.options),
            frame_sets=[pb.FrameSet(images=[pb.Image(camera=camera, data=data) for camera, data in pairs])],
        )

    def clip(self, videos: Sequence[bytes]) -> list[bytes]:
        """The messages of `EstimateClip`."""
        whole = self.message(self.jpegs)
        start = pb.EstimateClipRequest.Start(calibration=whole.calibration, options=whole.options)
        parts = [pb.EstimateClipRequest(start=start)]
        for camera, content in zip(self.cameras, videos, strict=True):
            for at in (0, len(content) // 2):
                data = content[at : at + len(content) // 2 if at == 0 else None]
                parts.append(pb.EstimateClipRequest(chunk=pb.EstimateClipRequest.Chunk(camera=camera, data=data)))
        return [part.SerializeToString() for part in parts]

    def stream(self, images: Sequence[bytes], chance: Random) -> list[Start | Capture | End]:
        """What the client of a live stream says."""
        policy = StreamPolicy.from_mapping({"mode": chance.choice(("every", "latest")), "max_wait": 0.2})
        captures = [
            Capture(k / 10, dict(zip(self.cameras, images, strict=True)), whole=chance.random() < 0.5) for k in range(3)
        ]
        return [Start(self.work.calibration, self.work.options, policy), *captures, End()]

    def inference(self, typed: bool) -> inference_pb2.ModelInferRequest:
        request = inference_pb2.ModelInferRequest(model_name="quick.relation", id="1")
        for name, value in rays().items():
            kind, contents = ("BOOL", "bool_contents") if value.dtype == bool else ("FP32", "fp32_contents")
            tensor = request.inputs.add(name=name, datatype=kind, shape=value.shape)
            if typed:
                getattr(tensor.contents, contents).extend(value.ravel().tolist())
            else:
                request.raw_input_contents.append(value.tobytes())
        return request


def http(samples: Samples, chance: Random) -> Case:
    """A body that is no body, or a wrong one."""
    form = {"content-type": "multipart/form-data; boundary=fuzz"}
    path, headers = "/v1/pose3d", {"content-type": "application/json"}
    match chance.randrange(9):
        case 0:
            content = mangled(samples.form(samples.videos, "video", samples.options(chance)), chance)
            headers = form
        case 1:
            content = mangled(samples.form(samples.jpegs, "frame", samples.options(chance)), chance)
            headers = form
        case 2:
            document = samples.document(samples.jpegs, samples.options(chance))
            content = dump(mangled_json(document, chance))
        case 3:
            content = mangled(dump(samples.document(samples.jpegs, samples.options(chance))), chance)
        case 4:
            path, inputs = "/v2/models/quick.relation/infer", []
            for name, value in rays().items():
                kind = "BOOL" if value.dtype == bool else "FP32"
                inputs.append({"name": name, "shape": value.shape, "datatype": kind, "data": value.ravel().tolist()})
            content = dump(mangled_json({"id": "1", "inputs": inputs, "outputs": [{"name": "joints"}]}, chance))
        case 5:
            path, inputs = "/v2/models/quick.relation/infer", []
            for name, value in rays().items():
                size = {"binary_data_size": value.nbytes}
                kind = "BOOL" if value.dtype == bool else "FP32"
                inputs.append({"name": name, "shape": value.shape, "datatype": kind, "parameters": size})
            asked = {"inputs": inputs, "parameters": {"binary_data_output": True}}
            head = dump(asked if chance.random() < 0.5 else mangled_json(asked, chance))
            content = mangled(head + b"".join(value.tobytes() for value in rays().values()), chance)
            headers = {"inference-header-content-length": str(len(head) + chance.choice((0, 0, 0, -1, 10**9)))}
        case 6:
            path = f"/v1/convert?format={chance.choice(FORMATS)}"
            content = dump(mangled_json(samples.answer, chance))
        case 7:
            path, headers = "/v1/calibrations", {}
            content = mangled(chance.choice(samples.calibrations), chance)
            if chance.random() < 0.5:
                content = dump(mangled_json(json.loads(samples.rig), chance))
        case _:
            path, headers = "/v1/calibrations/estimate", form
            content = mangled(samples.form(samples.videos, "video", {}, b"" if chance.random() < 0.5 else None), chance)
    if chance.random() < 0.1 and "content-type" in headers:
        headers = {"content-type": mangled(headers["content-type"].encode(), chance).decode("latin1")}
        headers = {name: "".join(filter(str.isprintable, value)).strip() for name, value in headers.items()}
        headers = {name: value.encode("ascii", "ignore").decode() for name, value in headers.items()}
    return lambda wire: wire.post(path, content, headers)


def rpc(samples: Samples, chance: Random) -> Case:
    """Messages that are none, or wrong ones."""
    pose, inference = "/synpose.v1.PoseService/", "/inference.GRPCInferenceService/"
    match chance.randrange(8):
        case 0 | 1:
            method, parts = (
                f"{pose}EstimatePose3D",
                [mangled(samples.message(samples.jpegs).SerializeToString(), chance)],
            )
        case 2 | 3:
            method, parts = f"{pose}EstimateClip", reordered(samples.clip(samples.videos), chance)
        case 4 | 5:
            typed = chance.random() < 0.5
            method, parts = f"{inference}ModelInfer", [mangled(samples.inference(typed).SerializeToString(), chance)]
        case 6:
            asked = inference_pb2.ModelMetadataRequest(name="quick.spatial", version="1")
            method, parts = f"{inference}ModelMetadata", [mangled(asked.SerializeToString(), chance)]
        case _:
            method = chance.choice((f"{pose}ListModels", f"{inference}ServerReady", *OTHERS))
            parts = [chance.randbytes(chance.randrange(20))]
    return lambda wire: wire.call(method, *parts)


def live(samples: Samples, chance: Random) -> Case:
    """A live stream in which one message is wrong, missing, doubled or in the wrong place."""
    said = samples.stream(samples.jpegs, chance)
    if chance.random() < 0.5:
        parts = reordered([live_wire.to_server(message).SerializeToString() for message in said], chance)
        return lambda wire: wire.call("/synpose.v1.PoseService/StreamPoses", *parts)
    texts = [live_json.to_server(message) for message in said]
    place = chance.randrange(len(texts))
    text = texts[place]
    if isinstance(text, str) and chance.random() < 0.6:
        texts[place] = dump(mangled_json(json.loads(text), chance)).decode()
        return lambda wire: wire.converse(texts)
    kinds = [isinstance(text, str) for text in texts]
    changed = reordered([text.encode() if isinstance(text, str) else text for text in texts], chance)
    # a text stays one where it can: one that is no UTF-8 would be a fault of the wire
    mixed = [c.decode(errors="replace") if i < len(kinds) and kinds[i] else c for i, c in enumerate(changed)]
    return lambda wire: wire.converse([*mixed, live_json.to_server(End())])


def media(samples: Samples, chance: Random) -> Case:
    """Good requests with a file that is broken, or of which it is not known what it is."""
    door = chance.randrange(5)
    files = list(samples.videos if door < 2 else chance.choice((samples.jpegs, samples.pngs)))
    place = chance.randrange(len(files))
    files[place] = mangled_media(files[place], chance)
    if chance.random() < 0.05:
        files[place] = chance.choice((samples.jpegs[0], samples.pngs[0], samples.videos[0], samples.rig, b""))
    if chance.random() < 0.3:
        files = [files[place]] * len(files)
    options = {"model": "quick"}
    headers = {"content-type": "multipart/form-data; boundary=fuzz"}
    headers["accept"] = chance.choice(("application/json", "application/x-ndjson"))
    match door:
        case 0:
            body = samples.form(files, "video", options)
            return lambda wire: wire.post("/v1/pose3d", body, headers)
        case 1:
            return lambda wire: wire.call("/synpose.v1.PoseService/EstimateClip", *samples.clip(files))
        case 2:
            body = samples.form(files, "frame", options)
            return lambda wire: wire.post("/v1/pose3d", body, headers)
        case 3:
            message = samples.message(files).SerializeToString()
            return lambda wire: wire.call("/synpose.v1.PoseService/EstimatePose3D", message)
    said = [live_json.to_server(message) for message in samples.stream(files, chance)]
    return lambda wire: wire.converse(said)


KINDS = (http, rpc, live, media)


@dataclass
class Findings:
    outcomes: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    failures: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)  # MiB
    good: int = 0

    def take(self, number: int, kind: str, outcome: str) -> None:
        door, _, rest = outcome.partition(" ")
        code = rest.split()[0].rstrip(":")
        self.outcomes[kind][f"{door} {code}"] += 1
        bad_status = door == "HTTP" and not (code.isdecimal() and (int(code) < 500 or code == "503"))
        bad_close = door == "WebSocket" and code not in ("1000", "1008", "1009", "1013", "1007", "1003")
        if bad_status or bad_close or (door == "gRPC" and code in BROKEN):
            self.failures.append(f"message {number} ({kind}): {outcome}")


async def joints_of(samples: Samples, wire: Wire, number: int) -> Any:
    """What the good request is answered, at one door or the other."""
    if number // EVERY % 2:
        stub = pb_grpc.PoseServiceStub(wire.channel)
        answer = await asyncio.to_thread(stub.EstimatePose3D, samples.message(samples.jpegs), timeout=SECONDS)
        people = [person.joints for frame in answer.frames for person in frame.people]
        return [[(j.position.x, j.position.y, j.position.z) for j in joints] for joints in people]
    response = await wire.http.post("/v1/pose3d", json=samples.document(samples.jpegs, {"model": "quick"}))
    response.raise_for_status()
    samples.answer = samples.answer or response.json()
    return [person["joints"] for frame in response.json()["frames"] for person in frame["people"]]


async def fuzz(server: Loopback, samples: Samples, args: argparse.Namespace) -> Findings:
    """Send all messages and judge the answers."""
    found, process = Findings(), psutil.Process(server.pid)
    with grpc.insecure_channel(server.grpc.removeprefix("grpc://")) as channel:
        # a connection that the server is about to close for want of use must not be taken
        limits = httpx.Limits(keepalive_expiry=1.0)
        async with httpx.AsyncClient(base_url=server.http, timeout=SECONDS, limits=limits) as client:
            wire = Wire(client, channel, server.http.replace("http://", "ws://") + "/v1/stream")
            truth = np.array(await joints_of(samples, wire, 0), float)
            assert truth.size, "nobody is seen in the good request"
            for form in FORMATS:  # whose libraries are loaded when they are first used
                await wire.post(
                    f"/v1/convert?format={form}", dump(samples.answer), {"content-type": "application/json"}
                )
            numbers = iter(range(args.first, args.first + args.count))

            async def work() -> None:
                for number in numbers:
                    kind = KINDS[number % len(KINDS)]
                    case = kind(samples, Random(f"{args.seed} {number}"))
                    found.take(number, kind.__name__, await case(wire))
                    if number % 20 == 0:
                        found.memory.append(process.memory_info().rss / (1 << 20))
                    if number % EVERY == 0:
                        await check(number)
                    if len(found.failures) >= ENOUGH:
                        return

            async def check(number: int) -> None:
                found.good += 1
                try:
                    now = np.array(await joints_of(samples, wire, number), float)
                except (httpx.HTTPError, grpc.RpcError) as error:
                    found.failures.append(f"after message {number} a good request failed: {error!r}")
                else:
                    if now.shape != truth.shape or not np.allclose(now, truth, atol=1e-4):
                        found.failures.append(f"after message {number} a good request has another answer")

            async with asyncio.TaskGroup() as group:
                for _ in range(args.clients):
                    group.create_task(work())
    if server.process.poll() is not None:
        found.failures.append(f"the server ended with status {server.process.poll()}")
    return found


def report(found: Findings, seconds: float, args: argparse.Namespace) -> bool:
    """Print what came of it; whether all is well."""
    print(f"{args.count} messages of seed {args.seed} in {seconds:.0f} s; {found.good} good requests between them")
    for kind, outcomes in found.outcomes.items():
        print(f"{kind}: " + ", ".join(f"{outcome} {count}" for outcome, count in outcomes.most_common()))
    if len(found.memory) >= 4:
        quarter = len(found.memory) // 4
        means = [statistics.mean(found.memory[k * quarter : (k + 1) * quarter]) for k in range(4)]
        print("memory, MiB, mean of each quarter: " + ", ".join(f"{mean:.0f}" for mean in means))
        if args.count >= JUDGED_FROM and means[3] > GROWTH * means[1]:
            found.failures.append(f"memory grew from {means[1]:.0f} to {means[3]:.0f} MiB")
    for failure in found.failures:
        print(f"FAILURE: {failure}")
    return not found.failures


def video(images: Sequence[Any]) -> bytes:
    """H.264 in MP4 of BGR images."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", Fraction(10), options={"preset": "ultrafast"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        output.mux(stream.encode())
    return file.getvalue()


def rays() -> dict[str, Any]:
    """Inputs of `quick.relation`."""
    chance = np.random.default_rng(0)
    return {
        "origins": chance.normal(size=(1, 1, 3, 3)).astype(np.float32),
        "directions": chance.normal(size=(1, 1, 3, 17, 3)).astype(np.float32),
        "scores": chance.random((1, 1, 3, 17)).astype(np.float32),
        "view_mask": np.ones((1, 1, 3), bool),
    }


def dump(document: Any) -> bytes:
    return json.dumps(document).encode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="messages")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first message")
    parser.add_argument("--clients", type=int, default=4, help="messages under way")
    args = parser.parse_args()
    samples = Samples(workload(2, 270, "quick", 3))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+") as log:
        with loopback(IMPATIENT, log=log.fileno()) as server:
            found = asyncio.run(fuzz(server, samples, args))
        log.seek(0)
        told = log.read()
    for trace in told.split("Traceback")[1:]:
        error = next((line for line in trace.splitlines() if line[:1].isalpha()), "")
        found.failures.append(f"the server's log has a traceback: {error}")
    return 0 if report(found, time.monotonic() - began, args) else 1


if __name__ == "__main__":
    sys.exit(main())
