"""What only several replicas can show: one of them is killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import psutil
import pytest
from tests.conformance.conftest import WAYS
from tests.e2e.clip import CAMERAS, FPS, FRAMES, RIG, jpegs
from tests.e2e.doors import DOORS, Answer, Request, Server

import synpose
from synpose.live import StreamPolicy
from synpose.live_client import LiveStream

pytestmark = pytest.mark.parametrize("server", WAYS[1:], indirect=True)

MODEL = "fast"
CLIENTS, CLIPS = 4, 6
SETS = [{camera: jpegs(camera)[k] for camera in CAMERAS} for k in range(FRAMES)]


def replicas(server: Server) -> list[psutil.Process]:
    """Their processes; Ray names them so, and what they are at follows."""
    processes = psutil.Process(server.pid).children(recursive=True)
    return [p for p in processes if "".join(p.cmdline()).startswith("ray::ServeReplica:synpose:Synpose")]


def name_of(stream: LiveStream) -> str:
    """The replica that a stream is on."""
    return stream._stream._token.partition(".")[0]


def wait_for_both(server: Server) -> None:
    """Return once streams come to two different replicas."""
    names: set[str] = set()
    until = time.monotonic() + 60
    with synpose.Client(f"grpc://{server.target}") as client:
        while len(names) < 2:
            assert time.monotonic() < until, server.log.read_text()
            with client.live(RIG, StreamPolicy(mode="every"), model=MODEL) as stream:
                names.add(name_of(stream))


def test_a_killed_replica_costs_the_calls_in_flight_on_it(server: Server) -> None:
    """Of clips without a pause each client loses one at most, the others are answered as ever; another comes up."""
    wait_for_both(server)
    killed = replicas(server)
    assert len(killed) == 2
    begun = threading.Barrier(CLIENTS + 1)
    request = Request(frame_sets=SETS)
    expected = DOORS["grpc"](server, request)
    assert isinstance(expected, Answer)

    def ask(door: str) -> list[Exception]:
        lost: list[Exception] = []
        begun.wait(30)
        for _ in range(CLIPS):
            try:
                answer = DOORS[door](server, request)
            except Exception as error:
                lost.append(error)
                continue
            assert isinstance(answer, Answer), answer
            np.testing.assert_allclose(answer.joints, expected.joints, atol=1e-4)
        return lost

    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(ask, door) for door in ("http", "grpc", "http", "grpc-unary")]
        begun.wait(30)
        killed[0].kill()
        for call in asking:
            assert len(call.result()) <= 1, call.result()


def test_streams_outlive_a_killed_replica(server: Server) -> None:
    """Streams on the other replica go on untouched; those on the killed one are begun anew by their client."""
    wait_for_both(server)
    gate = threading.Event()

    def sets() -> Iterator[tuple[float, Mapping[str, bytes]]]:
        for k in range(2 * FRAMES):
            if k == FRAMES:
                assert gate.wait(60)
            yield k / FPS, SETS[k % FRAMES]

    with ExitStack() as stack:
        client = stack.enter_context(synpose.Client(f"grpc://{server.target}"))
        streams: list[LiveStream] = []
        while len({name_of(stream) for stream in streams}) < 2:
            streams.append(stack.enter_context(client.live(RIG, StreamPolicy(mode="every"), model=MODEL)))
        following = [stream.follow(sets()) for stream in streams]
        for poses in following:
            assert [next(poses).sequence for _ in range(FRAMES)] == list(range(FRAMES))
        replicas(server)[0].kill()
        gate.set()
        rest = [list(poses) for poses in following]
        kept = [stream.restarts == 0 for stream in streams]
        assert any(kept)
        assert not all(kept)
        for stays, answers in zip(kept, rest, strict=True):
            assert [pose.sequence for pose in answers] == list(range(FRAMES * stays, FRAMES * (1 + stays)))
            assert all(pose.frame.people for pose in answers)
