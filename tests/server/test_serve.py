"""Both doors in one process: start, answers, drain."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import numpy as np
import pytest
import trustme
import uvicorn
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.server.fake_engine import FakeEngine
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from synpose.calibration import write_calibration
from synpose.client import Client
from synpose.errors import ServerError, VideoError, to_problem
from synpose.formats import FORMATS
from synpose.rig import Camera, Rig
from synpose.v1 import pose_pb2 as pb
from synpose.v1 import pose_pb2_grpc as pb_grpc
from synpose.wire import calibration_to_message
from synpose_server.serve import serve
from synpose_server.settings import Settings

K = [[50, 0, 32], [0, 50, 24], [0, 0, 1]]
RIG = Rig(tuple(Camera(name, (64, 48), K, np.eye(3), [x, 0, 4]) for name, x in (("cam01", -1), ("cam02", 1))))
CALIBRATION = write_calibration(RIG)
REQUEST = pb.EstimatePose3DRequest(
    calibration=calibration_to_message({"rig.json": CALIBRATION.encode()}),
    frame_sets=[pb.FrameSet(images=[pb.Image(camera=name, data=b"1") for name in RIG.names])],
)
PARTS = [
    ("calibration", ("rig.json", CALIBRATION.encode())),
    *(("video", (f"{name}.mp4", b"1")) for name in RIG.names),
]

COMMAND = """
import sys
import synpose_server.serve
from synpose.cli import main
from tests.server.fake_engine import FakeEngine

class Engine(FakeEngine):
    def estimate(self, *request):
        self.closed.clear()  # by the estimate before
        return super().estimate(*request)

synpose_server.serve.Engine = Engine
sys.exit(main(["serve", *sys.argv[1:]]))
"""


def settings(http_port: int = 0, grpc_port: int = 0) -> Settings:
    return Settings.model_validate({"http_port": http_port, "grpc_port": grpc_port})


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that something else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_requests_under_way_finish_after_sigterm() -> None:
    """After SIGTERM a running request of each door gets its whole answer; readiness fails, a new one is refused."""

    async def scenario() -> None:
        engine = FakeEngine(settings(), holds_at=1)
        lines: list[str] = []
        serving = asyncio.create_task(serve(engine.settings, engine, lines.append))
        while len(lines) < 2:
            await asyncio.sleep(0.01)
        url, target = (line.split()[-1] for line in lines)
        channel = grpc.aio.insecure_channel(target)
        async with httpx.AsyncClient(base_url=url, timeout=10) as http, channel:
            stub: pb_grpc.PoseServiceAsyncStub = pb_grpc.PoseServiceStub(channel)
            by_http = asyncio.create_task(http.post("/v1/pose3d", files=PARTS))
            by_grpc = asyncio.ensure_future(stub.EstimatePose3D(REQUEST))
            while len(engine.received) < 2:
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)
            async with httpx.AsyncClient(base_url=url) as late:
                while (await late.get("/readyz")).status_code == 200:
                    await asyncio.sleep(0.01)
                for alive in ("/healthz", "/v2/health/live"):
                    assert (await late.get(alive)).status_code == 200
                assert (await late.get("/v2/health/ready")).status_code == 503
                refused = await late.post("/v1/pose3d", files=PARTS)
            assert (refused.status_code, refused.json()["type"]) == (503, "urn:synpose:problem:draining")
            assert refused.headers["retry-after"]
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await stub.EstimatePose3D(REQUEST)
            assert told.value.code() is grpc.StatusCode.UNAVAILABLE
            health: health_pb2_grpc.HealthAsyncStub = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
            engine.go.set()
            assert len((await by_http).json()["frames"]) == 3
            assert len((await by_grpc).frames) == 3
        await asyncio.wait_for(serving, 5)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


def test_a_websocket_whose_pongs_are_late_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may wait behind captures that are not read yet."""
    config = uvicorn.Config

    def hurried(*args: Any, **given: Any) -> uvicorn.Config:
        return config(*args, **{"ws_ping_interval": 0.05, "ws_ping_timeout": 0.05, **given})

    async def scenario() -> None:
        engine = FakeEngine(settings())
        lines: list[str] = []
        serving = asyncio.create_task(serve(engine.settings, engine, lines.append))
        while len(lines) < 2:
            await asyncio.sleep(0.01)
        address = lines[0].rpartition("/")[2]
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            wire = ClientProtocol(parse_uri(f"ws://{address}/v1/stream"))
            wire.send_request(wire.connect())
            writer.writelines(wire.data_to_send())
            came: list[Opcode] = []
            while came.count(Opcode.PING) < 5:  # none of which is answered
                wire.receive_data(await asyncio.wait_for(reader.read(1 << 16), 10))
                came += [event.opcode for event in wire.events_received() if isinstance(event, Frame)]
                assert not reader.at_eof()
            assert set(came) == {Opcode.PING}
        finally:
            writer.close()
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(serving, 10)

    monkeypatch.setattr(uvicorn, "Config", hurried)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("door", ["http_port", "grpc_port"])
def test_taken_port(taken: int, door: str) -> None:
    """A port that is taken is one clear error that names the address and the flag."""
    engine = FakeEngine(settings(**{door: taken}))
    with pytest.raises(ServerError, match=rf"127.0.0.1:{taken}.*--{door.replace('_', '-')}"):
        asyncio.run(serve(engine.settings, engine, lambda _: None))


def test_an_address_that_is_none() -> None:
    """The advice is another address, not another port."""
    engine = FakeEngine(Settings(host="999.1.1.1"))
    with pytest.raises(ServerError, match=r"999\.1\.1\.1.*--host"):
        asyncio.run(serve(engine.settings, engine, lambda _: None))


@pytest.mark.parametrize("fault", ["tls_cert", "tls_client_ca"])
def test_certificates_that_cannot_be_used(tmp_path: Path, fault: str) -> None:
    """The setting and the file that are at fault are named."""
    authority = trustme.CA()
    own = authority.issue_cert("localhost")
    paths = {name: tmp_path / f"{name}.pem" for name in ("tls_cert", "tls_key", "tls_client_ca")}
    own.cert_chain_pems[0].write_to_path(paths["tls_cert"])
    own.private_key_pem.write_to_path(paths["tls_key"])
    authority.cert_pem.write_to_path(paths["tls_client_ca"])
    paths[fault].write_text("none")
    given = {name: str(path) for name, path in paths.items()}
    engine = FakeEngine(Settings.model_validate({"http_port": 0, "grpc_port": 0, **given}))
    with pytest.raises(ServerError, match=rf"{fault} .*{fault}\.pem"):
        asyncio.run(serve(engine.settings, engine, lambda _: None))


def test_a_door_that_ends_by_itself_ends_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with one door left does not go on as if nothing had happened."""

    async def end(self: uvicorn.Server, sockets: object) -> None:
        await asyncio.sleep(0.05)

    monkeypatch.setattr(uvicorn.Server, "serve", end)
    engine = FakeEngine(settings())
    with pytest.raises(ServerError, match="by itself"):
        asyncio.run(asyncio.wait_for(serve(engine.settings, engine, lambda _: None), 10))


@contextmanager
def running() -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """`synpose serve` as a process, with the addresses that it tells."""
    command = [sys.executable, "-c", COMMAND, "--http-port", "0", "--grpc-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            http = re.fullmatch(r"HTTP on (http://127\.0\.0\.1:\d+)\n", process.stdout.readline())
            rpc = re.fullmatch(r"gRPC on (127\.0\.0\.1:\d+)\n", process.stdout.readline())
            assert http is not None
            assert rpc is not None
            yield process, http[1], rpc[1]
        finally:
            process.kill()


def test_the_command_serves_and_ends() -> None:
    """`synpose serve` is healthy on both doors, and SIGTERM ends it with status 0."""
    with running() as (process, url, target):
        assert httpx.get(f"{url}/healthz").status_code == 200
        assert httpx.get(f"{url}/readyz").status_code == 200
        with grpc.insecure_channel(target) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_both_doors_give_equal_answers() -> None:
    """The same clip through HTTP and gRPC gives the same answer, and the same error."""
    videos: dict[str, str | os.PathLike[str] | bytes] = {"cam01": b"one", "cam02": b"two"}
    with running() as (_, url, target), Client(url) as http, Client(f"grpc://{target}") as rpc:
        assert http.ready()
        assert rpc.ready()
        assert http.models() == rpc.models()
        assert http.skeletons() == rpc.skeletons()
        one, two = (client.estimate(videos, RIG, skeleton="h36m17", fps=50.0) for client in (http, rpc))
        assert FORMATS["json"].write(one) == FORMATS["json"].write(two)
        assert len(one.frames) == 3
        errors = []
        for client in (http, rpc):
            with pytest.raises(VideoError) as caught:
                client.estimate({**videos, "cam02": b"broken"}, RIG)
            errors.append(to_problem(caught.value))
        assert errors[0] == errors[1]


def test_the_command_with_a_taken_port(taken: int) -> None:
    """`synpose serve` on a taken port is one line on stderr and status 2."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "--http-port", "0", "--grpc-port", str(taken)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: cannot listen on 127\.0\.0\.1:\d+: .*--grpc-port\n", done.stderr)
