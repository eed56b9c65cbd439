"""Who is let in: keys, their limits, certificates, the pages of other sites; alike at both doors."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import trustme
from tests.server.fake_engine import FakeEngine
from tests.server.live_server import serve
from tests.server.test_serve import CALIBRATION, COMMAND, PARTS, RIG
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from synpose import live_json
from synpose.bench.loopback import loopback
from synpose.cli import main
from synpose.client import Client
from synpose.errors import OptionsError, PermissionDenied, RateLimited, ServerError, Unauthenticated
from synpose.live import End, Start, StreamPolicy
from synpose.options import Options
from synpose_server.auth import Gate, Keys
from synpose_server.http import connections, door
from synpose_server.settings import Settings

VIDEOS: dict[str, str | os.PathLike[str] | bytes] = {"cam01": b"one", "cam02": b"two"}


@contextmanager
def running(**settings: str) -> Iterator[tuple[str, str]]:
    """`synpose serve` as a process under `settings`, and its addresses."""
    command = [sys.executable, "-c", COMMAND, "--http-port", "0", "--grpc-port", "0"]
    env = os.environ | {f"SYNPOSE_{name.upper()}": value for name, value in settings.items()}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            http, rpc = (process.stdout.readline().split()[-1] for _ in range(2))
            yield http, rpc
        finally:
            process.kill()


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A file of keys and their secrets by name."""
    known, secrets = Keys(), {}
    for name, scopes, rate in (
        ("lab", ("estimate",), None),
        ("slow", ("estimate",), 0.001),
        ("prom", ("metrics",), None),
        ("streams", ("stream",), None),
    ):
        known, secrets[name] = known.with_new(name, scopes, rate, None)
    known.write(tmp_path / "keys.json")
    return tmp_path / "keys.json", secrets


def test_keys_open_both_doors(keys: tuple[Path, dict[str, str]]) -> None:
    """Without a key, with a wrong one, without the scope and too often: the same errors over HTTP and gRPC."""
    path, secrets = keys
    with running(keys=str(path)) as (http, rpc):
        for probe in ("/healthz", "/v2/health/live", "/v2/health/ready"):
            assert httpx.get(f"{http}{probe}").status_code == 200
        assert httpx.get(f"{http}/metrics").status_code == 401
        told = httpx.get(f"{http}/metrics", headers={"x-api-key": secrets["prom"]})
        assert told.status_code == 200
        for route in ("convert", "calibrations", "calibrations/estimate"):
            for name, refused in (("prom", True), ("streams", route != "calibrations"), ("lab", False)):
                told = httpx.post(f"{http}/v1/{route}", headers={"x-api-key": secrets[name]})
                assert (told.status_code == 403) is refused, (route, name, told.text)
        for url in (http, f"grpc://{rpc}"):
            for secret, error in (
                (None, Unauthenticated),
                ("wrong", Unauthenticated),
                (secrets["prom"], PermissionDenied),
            ):
                with Client(url, api_key=secret) as client:
                    with pytest.raises(error):
                        client.estimate(VIDEOS, RIG)
                    with pytest.raises(error), client.live(RIG):
                        pass
            with Client(url, api_key=secrets["lab"]) as client:
                assert len(client.estimate(VIDEOS, RIG).frames) == 3
                assert client.models()
        with Client(http, api_key=secrets["slow"]) as client:
            client.estimate(VIDEOS, RIG)
        for url in (http, f"grpc://{rpc}"):  # the limit is one for both doors
            with Client(url, api_key=secrets["slow"]) as client, pytest.raises(RateLimited):
                client.estimate(VIDEOS, RIG)
        limited = httpx.post(f"{http}/v1/pose3d", files=PARTS, headers={"authorization": f"Bearer {secrets['slow']}"})
        assert (limited.status_code, limited.headers["retry-after"]) == (429, "1")


@pytest.mark.parametrize(
    ("key", "status"),
    [("wrong", 401), ("prom", 403), (None, 401), ("\ud800", 401)],
    ids=["unknown", "without the scope", "no key", "no text"],
)
def test_a_websocket_is_told_why_it_is_turned_away(
    keys: tuple[Path, dict[str, str]], key: str | None, status: int
) -> None:
    """As every error: a last message with the problem, then the close code."""
    path, secrets = keys
    first = {"type": "start"} if key is None else {"api_key": secrets.get(key, key)}
    with (
        running(keys=str(path)) as (http, _),
        connect(f"{http.replace('http', 'ws')}/v1/stream") as socket,
    ):
        socket.send(json.dumps(first))
        told = json.loads(socket.recv(10))
        assert (told["type"], told["error"]["status"]) == ("error", status)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


def test_only_the_key_of_a_websocket_must_come_soon(
    keys: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sent it may take as long for the first message as any stream; who sends none is told so."""
    path, secrets = keys
    monkeypatch.setattr(door, "_KEY_SECONDS", 0.3)
    with serve(FakeEngine(Settings(keys=path))) as url:
        stream = f"{url.replace('http', 'ws')}/v1/stream"
        with connect(stream) as socket:
            socket.send(json.dumps({"api_key": secrets["streams"]}))
            time.sleep(0.6)
            socket.send("{")
            assert json.loads(socket.recv(10))["error"]["status"] == 422
        with connect(stream) as socket:
            assert "no API key came" in json.loads(socket.recv(10))["error"]["detail"]


def test_a_removed_key_is_refused(keys: tuple[Path, dict[str, str]]) -> None:
    """The file is read again when it has changed; one that is broken leaves the keys as they were."""
    path, secrets = keys
    now = [0.0]
    gate = Gate(path, lambda: now[0])
    with gate.admit(secrets["lab"], "estimate") as name:
        assert name == "lab"
    Keys.read(path).without("lab").write(path)
    now[0] += 2
    with pytest.raises(Unauthenticated), gate.admit(secrets["lab"], "estimate"):
        pass
    path.write_text("{")
    now[0] += 2
    with gate.admit(secrets["prom"], "metrics"):
        pass


@pytest.mark.parametrize("door", ["http", "grpc", "message"])
def test_a_removed_key_ends_its_streams(tmp_path: Path, door: str) -> None:
    """At the next message, whether the key came in a header, as metadata or as a first message; others go on."""
    path = tmp_path / "keys.json"
    known, secret = Keys().with_new("leaves", ("stream",), None, None)
    known, other = known.with_new("stays", ("stream",), None, None)
    known.write(path)
    images = dict.fromkeys(RIG.names, b"no image")
    with loopback({"SYNPOSE_KEYS": str(path)}) as server, ExitStack() as stack:
        url = server.grpc if door == "grpc" else server.http
        stays = stack.enter_context(stack.enter_context(Client(url, api_key=other)).live(RIG, model="quick"))
        if door == "message":
            socket = stack.enter_context(connect(f"{url.replace('http', 'ws')}/v1/stream"))
            socket.send(json.dumps({"api_key": secret}))
            socket.send(
                live_json.to_server(Start({"rig": CALIBRATION.encode()}, Options(model="quick"), StreamPolicy()))
            )
            assert json.loads(socket.recv(10))["type"] == "opened"
        else:
            leaves = stack.enter_context(stack.enter_context(Client(url, api_key=secret)).live(RIG, model="quick"))
        known.without("leaves").write(path)
        time.sleep(1.1)
        stays.send(0.0, images)
        stays.end()
        assert len(list(stays)) == 1
        if door == "message":
            socket.send(live_json.to_server(End()))
            assert json.loads(socket.recv(10))["error"]["status"] == 401
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(10)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4401
        else:
            with pytest.raises(Unauthenticated, match="was removed"):
                list(leaves.follow([(0.0, images)]))


def test_requests_at_a_time_are_counted(tmp_path: Path) -> None:
    """A key with a limit of one may begin the next request when the first has ended, however it ended."""
    known, secret = Keys().with_new("one", ("estimate",), None, 1)
    known.write(tmp_path / "keys.json")
    gate = Gate(tmp_path / "keys.json")

    def fail() -> None:
        with gate.admit(secret, "estimate"):
            with pytest.raises(RateLimited), gate.admit(secret, "estimate"):
                pass
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with gate.admit(secret, "estimate"):
        pass


def test_the_command_keeps_hashes_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`synpose keys` makes a key that it prints once, lists and removes it; the file is its owner's alone."""
    path = tmp_path / "keys.json"
    assert main(["keys", "add", "lab", "--file", str(path), "--scopes", "estimate,metrics"]) == 0
    secret = capsys.readouterr().out.strip()
    assert secret not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert main(["keys", "list", "--file", str(path)]) == 0
    assert capsys.readouterr().out == "lab  estimate,metrics  no limit\n"
    assert main(["keys", "add", "lab", "--file", str(path)]) == 2
    assert main(["keys", "remove", "lab", "--file", str(path)]) == 0
    assert json.loads(path.read_text()) == {"keys": []}


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"keys": [{}]}', '{"keys": 3}', '{"keys": [{"name": "a", "sha256": 1}]}']
)
def test_a_file_of_other_things_is_told(tmp_path: Path, content: str) -> None:
    """A file that holds no keys ends the start; it never means that everybody may come in."""
    (tmp_path / "keys.json").write_text(content)
    with pytest.raises(OptionsError, match=re.escape("keys.json")):
        Gate(tmp_path / "keys.json")


def test_certificates_of_both_sides(tmp_path: Path) -> None:
    """With TLS and a client authority both doors answer those with a certificate, and nobody else."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    own, other = authority.issue_cert("127.0.0.1"), authority.issue_cert("client@lab")
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    own.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    other.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    files = {name: str(tmp_path / file) for name, file in (
        ("tls_cert", "cert.pem"), ("tls_key", "key.pem"), ("tls_client_ca", "ca.pem"))}  # fmt: skip
    with running(**files) as (http, rpc):
        assert http.startswith("https://")
        for url in (http, f"grpcs://{rpc}"):
            with Client(url, ca=tmp_path / "ca.pem", cert=tmp_path / "client.pem") as client:
                assert client.ready()
                assert len(client.estimate(VIDEOS, RIG).frames) == 3
            with Client(url, ca=tmp_path / "ca.pem", timeout=5) as client, pytest.raises(ServerError):
                client.models()


def test_pages_of_other_sites() -> None:
    """A page of another site may neither send nor read, unless its origin is allowed; the server's own may."""
    with serve(FakeEngine(Settings(cors_origins="https://lab.example"))) as url:
        for origin, status in (
            ("https://evil.example", 403),
            ("http://[abc", 403),
            ("https://lab.example", 200),
            (url, 200),
        ):
            answer = httpx.post(f"{url}/v1/pose3d", files=PARTS, headers={"origin": origin})
            assert answer.status_code == status
        answer = httpx.get(f"{url}/v1/models", headers={"origin": "https://lab.example"})
        assert answer.headers["access-control-allow-origin"] == "https://lab.example"
        exposed = set(answer.headers["access-control-expose-headers"].split(", "))
        assert exposed == {"x-request-id", "retry-after", "inference-header-content-length"}
        wanted = (
            "authorization, content-type, inference-header-content-length, x-api-key, x-request-id, x-request-timeout"
        )
        asked = {"access-control-request-method": "POST", "access-control-request-headers": wanted}
        answer = httpx.options(f"{url}/v1/pose3d", headers={"origin": "https://lab.example", **asked})
        assert (answer.status_code, answer.text) == (200, "OK")
        answer = httpx.get(f"{url}/v1/models", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers
        stream = url.replace("http", "ws") + "/v1/stream"
        with connect(stream, origin=Origin("https://lab.example")) as wire:
            wire.send("{")  # it is open, and says what is wrong
            assert json.loads(wire.recv(10))["error"]["status"] == 422
        with pytest.raises(InvalidStatus, match="403"), connect(stream, origin=Origin("https://evil.example")):
            pass


def dribble(wire: socket.socket, piece: bytes) -> None:
    """Send `piece` again and again for five seconds."""
    for _ in range(100):
        wire.sendall(piece)
        time.sleep(0.05)


@pytest.mark.parametrize("sent", [b"GET /", b"GET / HTTP/1.1\r\na", b"\r\n"], ids=["line", "header", "nothing"])
def test_every_head_must_come_in_time(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the second one of a connection, whose sender would else hold it with a byte now and then."""
    monkeypatch.setattr(connections, "_HEAD_SECONDS", 0.5)
    with serve(FakeEngine()) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 10) as wire:
            for _ in range(2):
                wire.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                assert wire.recv(10_000).startswith(b"HTTP/1.1 200 ")
            wire.sendall(sent)
            began = time.monotonic()
            with pytest.raises(ConnectionError):
                dribble(wire, sent[-1:] if sent.strip() else sent)
            assert time.monotonic() - began > 0.2


def test_a_head_is_not_waited_for_while_an_answer_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer may take longer than a head, also where a part of the next request was sent ahead."""
    monkeypatch.setattr(connections, "_HEAD_SECONDS", 0.2)
    engine = FakeEngine(holds_at=0)
    request = httpx.Request("POST", "http://x/v1/pose3d", files=PARTS)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with serve(engine) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 10) as wire:
            wire.sendall(
                f"POST /v1/pose3d HTTP/1.1\r\n{head}\r\n".encode() + request.read() + b"GET /healthz HTTP/1.1\r\n"
            )
            time.sleep(0.7)
            engine.go.set()
            assert wire.recv(20).startswith(b"HTTP/1.1 200 ")
            wire.sendall(b"host: x\r\n\r\n")
            told = b""
            while b"alive" not in told:
                told += wire.recv(10_000)


def test_an_endless_head_is_cut_off() -> None:
    """Headers without end cost a connection, not memory."""

    async def send(port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n")
        while True:
            writer.write(b"a: " + b"b" * 4000 + b"\r\n")
            await writer.drain()

    with running() as (url, _):
        with pytest.raises(ConnectionError):
            asyncio.run(asyncio.wait_for(send(int(url.rpartition(":")[2])), 20))
        assert httpx.get(f"{url}/healthz").status_code == 200
